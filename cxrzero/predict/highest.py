"""The highest films of each label, kept while rows go by: a few for each label, and never the rows."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxrzero.prediction import Cell, Prediction

LABELS = 20  # of more, the first ones are shown: nobody reads the highest films of hundreds
LINES = 48  # for all labels together, each with a line for its name
MOST = 5  # films of a label


@dataclass(frozen=True, slots=True)
class High:
    """One film, or one study, among the highest of a label.

    Attributes:
        name: its path as it is written, or the study.
        frame: None unless the file has several.
        sd: between the members of an ensemble.
        calibrated: None where the label has no calibrator.
    """

    probability: float
    name: str
    frame: int | None = None
    flags: tuple[str, ...] = ()
    sd: float | None = None
    calibrated: float | None = None


class Highest:
    """What there is to see first in a run. Its memory grows with labels, not with rows.

    Args:
        labels: all that are asked, in order.
        top: films for each label; None: as many as LINES have room for.

    Attributes:
        labels: those whose films are kept: the first LABELS.
        n: rows with scores.
        n_flagged: how many of them have any flag; `flags` counts each flag.
        unscored: why rows have no scores, such as "failed: empty_file", with how many.
        reached: label → rows at or above its threshold, of all labels that have one.
        reached_flagged: label → how many of them are flagged.
    """

    def __init__(self, labels: Sequence[str], top: int | None = None) -> None:
        self.labels = tuple(labels[:LABELS])
        self.n = self.n_flagged = 0
        self.flags: Counter[str] = Counter()
        self.unscored: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self.reached_flagged: Counter[str] = Counter()
        self._top = films_each(len(self.labels)) if top is None else top
        # (probability, -place, film): of equal probabilities the earlier row is higher
        self._heaps: dict[str, list[tuple[float, int, High]]] = {label: [] for label in self.labels if self._top}

    def add(self, row: Prediction) -> None:
        """Count a row in."""
        if row.status != "ok":
            self.unscored[f"{row.status}: {row.code}"] += 1
            return
        self.n += 1
        if row.flags:
            self.n_flagged += 1
            self.flags.update(row.flags)
        if row.decision:
            reached = [label for label, decision in row.decision.items() if decision]
            self.reached.update(reached)
            if row.flags:
                self.reached_flagged.update(reached)
        for label, heap in self._heaps.items():
            probability = row.scores[label]
            if self._is_high(probability, heap):
                film = High(
                    probability,
                    str(row["path"]),
                    row.frame if row.frame != 1 else None,
                    tuple(sorted(row.flags)),
                    row.sd.get(label),
                    row.calibrated.get(label),
                )
                self._push(heap, film)

    def add_study(self, row: Mapping[str, Cell]) -> None:
        """Count a row of the table of studies in; one without a used image has no place."""
        self.n += row["images_used"] != 0
        for label, heap in self._heaps.items():
            probability = row[label]
            if isinstance(probability, float) and self._is_high(probability, heap):
                self._push(heap, High(probability, str(row["study"])))

    @property
    def everywhere(self) -> frozenset[str]:
        """Flags that every film has, as view_unknown where files have no header: they tell none from another."""
        return frozenset(flag for flag, n in self.flags.items() if n == self.n)

    def of(self, label: str) -> list[High]:
        """Its highest films, the highest first."""
        heap = sorted(self._heaps.get(label, ()), key=lambda item: item[:2], reverse=True)
        return [film for _, _, film in heap]

    def _is_high(self, probability: float, heap: list[tuple[float, int, High]]) -> bool:
        return len(heap) < self._top or probability > heap[0][0]

    def _push(self, heap: list[tuple[float, int, High]], film: High) -> None:
        item = (film.probability, -self.n, film)
        if len(heap) < self._top:
            heapq.heappush(heap, item)
        else:
            heapq.heapreplace(heap, item)


def films_each(n_labels: int) -> int:
    """How many films of each of so many labels fit into LINES: 1 to MOST."""
    return max(1, min(MOST, LINES // max(n_labels, 1) - 1))
