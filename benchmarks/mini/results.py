"""AUROC of a model on a subset, with others beside it on the same films, and the paired difference to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.mini.intervals import ENOUGH, interval, resample_weights, told
from benchmarks.mini.scores import Scorer
from benchmarks.mini.subsets import Subset
from cxrzero.maths import Floats
from cxrzero.stats.metrics import aurocs

FIRST = "first_model"  # the name, among those beside, of the one that differences are taken to
MACRO, ALL = f"macro, {ENOUGH} positives or more", "macro, all"


@dataclass(frozen=True)
class Result:
    """One line of the table.

    Attributes:
        auroc, difference: [value, low, high]; the difference to FIRST, None if that is not beside.
        beside: name → [value, low, high].
    """

    dataset: str
    label: str
    n: int
    positives: int
    auroc: list[float]
    beside: dict[str, list[float]]
    difference: list[float] | None

    def entry(self, command: str) -> dict[str, Any]:
        """The same as "results" of model.json have it."""
        value, low, high = self.auroc
        numbers = {"metric": "auroc", "value": value, "low": low, "high": high, "n": self.n}
        baselines = {name: numbers[0] for name, numbers in self.beside.items()}
        rest = {"positives": self.positives, "baselines": baselines, "command": command}
        return {"dataset": self.dataset, "label": self.label, **numbers, **rest}


def evaluate(model: Scorer, beside: Mapping[str, Scorer], subset: Subset) -> list[Result]:
    """One result for each label, and macro averages where there are several."""
    weights = resample_weights(subset.clusters)
    scores = {name: scorer(subset) for name, scorer in {"": model, **beside}.items()}
    samples = {
        label: {name: aurocs(values[label], truth, weights) for name, values in scores.items()}
        for label, truth in subset.truth.items()
    }
    positives = {label: int(truth.sum()) for label, truth in subset.truth.items()}
    found = [_result(subset, label, positives[label], each) for label, each in samples.items()]
    if len(samples) > 1:
        for name, least in ((MACRO, ENOUGH), (ALL, 0)):
            chosen = [label for label, count in positives.items() if count >= least]
            if chosen:
                mean = {who: np.mean([samples[label][who] for label in chosen], axis=0) for who in scores}
                found.append(_result(subset, name, sum(positives[label] for label in chosen), mean))
    return found


def _result(subset: Subset, label: str, positives: int, samples: Mapping[str, Floats]) -> Result:
    beside = {name: interval(sample) for name, sample in samples.items() if name}
    difference = interval(samples[""] - samples[FIRST]) if FIRST in samples else None
    return Result(subset.name, label, len(subset.films), positives, interval(samples[""]), beside, difference)


def table(results: Sequence[Result]) -> str:
    """Markdown; those beside have their interval in the macro averages only."""
    names = list(results[0].beside)
    differs = ["difference to the first model"] if results[0].difference is not None else []
    heads = ["films", "finding", "n", "positives", "AUROC (95%)", *differs, *(name.replace("_", " ") for name in names)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for each in results:
        macro = each.label.startswith("macro")
        beside = [told(numbers) if macro else f"{numbers[0]:.3f}" for numbers in each.beside.values()]
        value, rest = told(each.auroc).split(" ", 1)
        difference = [] if each.difference is None else [told(each.difference, signed=True)]
        cells = [
            each.dataset,
            each.label,
            str(each.n),
            str(each.positives),
            f"**{value}** {rest}",
            *difference,
            *beside,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
