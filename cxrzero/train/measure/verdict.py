"""Whether a run learned anything, told from its own records: results beside what luck reaches, and the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.train.measure.chance import Luck, z_of

FEW_STEPS = 10  # optimiser steps in which nothing much can be learned
PART = 0.1  # of the steps, at either end, whose losses are compared
TRY = (
    "Try more --epochs, another --lr, more pairs, or a start from weights with --init; and look with --check whether "
    "the texts are those of their images."
)


@dataclass(frozen=True)
class Verdict:
    """What is said at the end of a run.

    Attributes:
        learned: whether a result is beyond luck; None where nothing was measured that could tell.
        lines: sentences for the user; none where all is well.
    """

    learned: bool | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Measure:
    """A result, its chance, and up to where it is luck; at a limit of 1 no result could tell."""

    name: str
    value: float
    chance: float
    limit: float

    @property
    def is_luck(self) -> bool:
        return not self.value > self.limit

    def __str__(self) -> str:
        reach = "any value" if self.limit >= 1 else f"{self.limit:.3f}"
        return f"{self.name} {self.value:.3f} (chance {self.chance:.3f}; luck can reach {reach})"


def judge(records: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a run by the records of metrics.jsonl."""
    found = [record["validation"] for record in records if "validation" in record and record["step"]]
    finished = [record for record in records if "alike" in record or "refit" in record]
    exported = [record["validation"] for record in finished if "validation" in record]
    best = exported[-1] if exported else max(found, key=score_of, default=None)
    start = next((r["validation"] for r in records if "validation" in r and not r["step"]), None)
    measures = [] if best is None else list(_measures(best, len(found)))
    telling = [each for each in measures if each.limit < 1]
    learned = any(not each.is_luck for each in telling) if telling else None
    lines = [*_of_results(measures, telling, learned), *_of_steps(records, learned)]
    if learned and start is not None and max(map(score_of, found)) <= score_of(start):
        lines.append(
            f"No validation was better than the one before the first step ({score_of(start):.3f}): the start could do "
            "all that this model can."
        )
    return Verdict(learned, tuple(lines))


def score_of(validation: Mapping[str, Any]) -> float:
    """What checkpoints are chosen by, see `Validation.score`."""
    if "auroc" in validation:
        return float(validation["auroc"][0])
    if "statement_auroc" in validation:
        return float(validation["statement_auroc"])
    return _recall(validation)


def _recall(validation: Mapping[str, Any]) -> float:
    return float(np.mean([value for name, value in validation["retrieval"].items() if name.endswith("_r5")]))


def _measures(validation: Mapping[str, Any], looks: int) -> Iterator[_Measure]:
    """Each with a limit for the best of so many looks; records of an earlier version have no limits."""
    if "auroc" in validation:
        value, low, high = validation["auroc"]
        # NaN: there are too few of a class for an interval, and no result could tell.
        reach = (high - low) / 2 * z_of(looks) / z_of(1)
        yield _Measure("AUROC of --val-labels", value, 0.5, 0.5 + reach if reach == reach else 1.0)
    if "statement_spread" in validation:
        limit = 0.5 + z_of(looks) * validation["statement_spread"]
        yield _Measure("AUROC of held-out statements", validation["statement_auroc"], 0.5, limit)
    if "luck" in validation:
        luck = Luck(**validation["luck"])
        yield _Measure("R@5", _recall(validation), luck.chance, luck.limit(looks))


def _of_results(measures: list[_Measure], telling: list[_Measure], learned: bool | None) -> Iterator[str]:
    if not measures:
        yield "Nothing was held out to tell whether this model learned: pass --val-fraction 0.05, or --val-labels."
    elif learned is None:
        yield f"Too little is held out to tell whether this model learned: {_listed(measures)}. Hold out more films."
    elif not learned:
        yield f"THIS MODEL DID NOT LEARN: {_listed(telling)}. It is no better than guessing. {TRY}"
    elif at_chance := [each for each in telling if each.is_luck]:
        yield f"NO BETTER THAN CHANCE: {_listed(at_chance)}. Other results are better."


def _listed(measures: Sequence[_Measure]) -> str:
    return ", ".join(map(str, measures))


def _of_steps(records: Sequence[Mapping[str, Any]], learned: bool | None) -> Iterator[str]:
    losses = [record["loss"] for record in records if "loss" in record]
    taken = [loss for loss in losses if loss is not None]
    if len(taken) < len(losses):
        skipped = len(losses) - len(taken)
        yield f"{skipped:,} of {counted(len(losses), 'step')} had no finite loss or gradient and changed nothing."
    if len(taken) < FEW_STEPS and not learned:
        steps = counted(len(taken), "step was", "steps were")
        yield f"Only {steps} taken: raise --epochs, or lower --batch-size."
    part = max(1, round(PART * len(taken)))
    if len(taken) > 1:
        first, last = float(np.mean(taken[:part])), float(np.mean(taken[-part:]))
        if last >= first:
            yield f"The loss did not fall: {first:.4f} at the start, {last:.4f} at the end; a lower --lr may help."
