"""How well a model was measured to find what is asked, as its own model.json states in `results` and `at_chance`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrzero.model.bundle import Bundle
from cxrzero.prompts.bank import built_in_bank, key_of

# Of these metrics 0.5 is chance.
RANKINGS = frozenset({"auroc", "auc", "roc auc"})
CHANCE = 0.5
# How results over several findings are called: "macro", "macro, all".
AVERAGE = "macro"


@dataclass(frozen=True, slots=True)
class Measured:
    """One result; low and high are its interval, and positives the films with the finding; None where not stated."""

    dataset: str
    value: float
    low: float | None
    high: float | None
    positives: float | None = None

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


def findings_at_chance(results: Any) -> list[str]:
    """What `at_chance` of model.json should hold, by its `results`; averages over findings are none.

    A finding is at chance if its interval on its main data set does not lie above 0.5. The main one has the most films
    with the finding; of equals, and where nobody states how many, the first.
    """
    names: dict[str, str] = {}
    found: dict[str, list[Measured]] = {}
    for label, result in _read(results):
        if key_of(label).split()[:1] != [AVERAGE]:
            names.setdefault(finding_key(label), label)
            found.setdefault(finding_key(label), []).append(result)
    return [names[key] for key, each in found.items() if max(each, key=lambda one: one.positives or 0).is_chance]


def list_at_chance(bundle: Bundle) -> list[str]:
    """Findings that model.json marks, and those that are at chance by its results though it does not mark them."""
    marked = set(map(finding_key, bundle.at_chance))
    measured = findings_at_chance(bundle.card.get("results"))
    return [*bundle.at_chance, *(label for label in measured if finding_key(label) not in marked)]


def finding_key(label: str) -> str:
    """The same for all names that the built-in bank has for a finding."""
    entry = built_in_bank().entries.get(key_of(label))
    return key_of(entry.name if entry else label)


def _read(results: Any) -> Iterator[tuple[str, Measured]]:
    for result in results if isinstance(results, list) else ():
        if not isinstance(result, dict) or not isinstance(result.get("label"), str):
            continue
        value, low, high, positives = (_number(result.get(key)) for key in ("value", "low", "high", "positives"))
        if key_of(str(result.get("metric"))) in RANKINGS and value is not None:
            dataset = str(result.get("dataset") or "data set not stated")
            yield result["label"], Measured(dataset, value, low, high, positives)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
