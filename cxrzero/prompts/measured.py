"""How well a model was measured to find what is asked, as its own model.json states in `results`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrzero.model.bundle import Bundle
from cxrzero.prompts.bank import built_in_bank, key_of

# Of these metrics 0.5 is chance.
RANKINGS = frozenset({"auroc", "auc", "roc auc"})
CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One result; low and high are its interval, None where none is stated."""

    dataset: str
    value: float
    low: float | None
    high: float | None

    @property
    def is_chance(self) -> bool:
        """Whether chance explains it: the interval holds 0.5, or lies below."""
        return (self.value if self.low is None else self.low) <= CHANCE

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f", interval {self.low:.2f} to {self.high:.2f}"
        return f"AUROC {self.value:.2f}{interval}, {self.dataset}"


def results_of(bundle: Bundle) -> Mapping[str, Sequence[Measured]]:
    """Finding (see `finding_key`) → its results; what is no result as this package writes them says nothing."""
    found: dict[str, list[Measured]] = {}
    for label, result in _read(bundle.card.get("results")):
        found.setdefault(finding_key(label), []).append(result)
    return found


def finding_key(label: str) -> str:
    """The same for all names that the built-in bank has for a finding."""
    entry = built_in_bank().entries.get(key_of(label))
    return key_of(entry.name if entry else label)


def _read(results: Any) -> Iterator[tuple[str, Measured]]:
    for result in results if isinstance(results, list) else ():
        if not isinstance(result, dict) or not isinstance(result.get("label"), str):
            continue
        value, low, high = (_number(result.get(key)) for key in ("value", "low", "high"))
        if key_of(str(result.get("metric"))) in RANKINGS and value is not None:
            yield result["label"], Measured(str(result.get("dataset") or "data set not stated"), value, low, high)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
