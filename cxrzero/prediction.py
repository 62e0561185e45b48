"""One row of the prediction table."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cxrzero.images.radiograph import Facts

FACT_COLUMNS = tuple(Facts().as_dict())
FIXED_COLUMNS = ("path", "frame", *FACT_COLUMNS, "status", "flags", "error")
# Column → type of its cells, for formats that have types.
FIXED_TYPES: dict[str, type] = {column: int if column == "frame" else str for column in FIXED_COLUMNS}

Cell = str | int | float | None


@dataclass(slots=True)  # not frozen: a million are made, and a frozen one takes three times as long
class Prediction(Mapping[str, Cell]):
    """What became of one image: also a mapping from column name to value, so `pandas.DataFrame(rows)` works.

    Attributes:
        path: as found under the argument given.
        frame: 1-based; None when the file could not be opened far enough to have frames.
        status: "ok" scored, "failed" could not be read, "skipped" readable but not scored.
        facts: what the header states; empty texts for other files than DICOM.
        flags: what is unusual about the picture, members of the closed vocabulary of docs/images.md.
        error: `code: message` for failed and skipped rows, else empty.
        code: the code alone.
        scores: label → probability (float32 precision); empty unless status is "ok".
        cos_pos: label → cosine of image and positive prompts, in [−1, 1]; empty as `scores`.
        cos_neg: label → cosine of image and negative prompts.
        sd: label → standard deviation between the probabilities of an ensemble's members; empty for one model.
        calibrated: label → calibrated probability; empty without a calibration.
        decision: label → 1 where the probability (not the calibrated one) reaches the threshold, else 0.
            None, in both, for a label that the calibration has nothing for.
        labels: all labels asked, the table's columns in order; the pipeline gives a dict, which finds one of
            thousands at once.
    """

    path: str
    labels: Collection[str]
    status: str
    frame: int | None = None
    facts: Facts = field(default_factory=Facts)
    flags: frozenset[str] = frozenset()
    error: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    cos_pos: Mapping[str, float] = field(default_factory=dict)
    cos_neg: Mapping[str, float] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)
    calibrated: Mapping[str, float | None] = field(default_factory=dict)
    decision: Mapping[str, int | None] = field(default_factory=dict)
    code: str = ""

    def __getitem__(self, column: str) -> Cell:
        if column in self.scores:
            return self.scores[column]
        if column in _CELLS:
            return _CELLS[column](self)
        if column in self.labels:
            return None
        raise KeyError(column)

    def fixed(self) -> list[Cell]:
        """The values of FIXED_COLUMNS, in their order; one call is faster than a look-up for each."""
        flags = _joined(self.flags)
        return [printable_path(self.path), self.frame, *self.facts[: len(FACT_COLUMNS)], self.status, flags, self.error]

    def __iter__(self) -> Iterator[str]:
        yield from FIXED_COLUMNS
        yield from self.labels

    def __len__(self) -> int:
        return len(FIXED_COLUMNS) + len(self.labels)


def printable_path(path: str) -> str:
    r"""A path as text: bytes that are not UTF-8 (Unix allows them in names) are written as \xNN."""
    if path.isascii():
        return path
    return path.encode("utf-8", sys.getfilesystemencodeerrors()).decode("utf-8", "backslashreplace")


@lru_cache(maxsize=1024)
def _joined(flags: frozenset[str]) -> str:
    return ";".join(sorted(flags))


_CELLS: dict[str, Callable[[Prediction], Cell]] = {
    "path": lambda row: printable_path(row.path),
    "frame": operator.attrgetter("frame"),
    **{column: operator.attrgetter(f"facts.{column}") for column in FACT_COLUMNS},
    "status": operator.attrgetter("status"),
    "flags": lambda row: _joined(row.flags),
    "error": operator.attrgetter("error"),
}
