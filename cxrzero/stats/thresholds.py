"""Decision thresholds, chosen on one table and applied to another. A decision is "score >= threshold"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrzero.choices import ThresholdRule
from cxrzero.errors import ConfigError
from cxrzero.maths import Bools, Floats
from cxrzero.stats.metrics import Confusion, Ranking


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold on a label's score and how it came about.

    Attributes:
        rule: "max_mcc", "youden", "sensitivity", "fixed" or "given" (read from a calibration file).
        chosen_on: "validation", "in_sample" or "user".
        n_positive, n_negative: rows it was chosen on; 0 where it was not chosen on data.
        achieved: the rule's own statistic on those rows (MCC, J or sensitivity); NaN where not chosen on data.
        target: the sensitivity asked for by the rule "sensitivity".
    """

    value: float
    rule: str
    chosen_on: str
    n_positive: int = 0
    n_negative: int = 0
    achieved: float = float("nan")
    target: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def parse_rule(text: str) -> tuple[ThresholdRule, float | None]:
    """Read "max-mcc", "youden" or "sensitivity=0.9".

    Raises:
        ConfigError: it is none of them.
    """
    name, _, target = text.partition("=")
    rules: dict[str, ThresholdRule] = {"max-mcc": "max_mcc", "max_mcc": "max_mcc", "youden": "youden"}
    if name in rules and not target:
        return rules[name], None
    try:
        value = float(target)
    except ValueError:
        value = 0.0
    if name == "sensitivity" and 0 < value <= 1:
        return "sensitivity", value
    raise ConfigError(f"the threshold rule is max-mcc, youden or sensitivity=0.9 (any number up to 1), not {text!r}")


def choose_threshold(
    scores: Floats, truth: Bools, rule: ThresholdRule, target: float | None, chosen_on: str
) -> Threshold | None:
    """Choose a threshold on (n,) scores and (n,) bool truth; None where one class is missing.

    "max_mcc" is the paper's rule; "youden" maximises sensitivity + specificity − 1; "sensitivity" takes the highest
    threshold that reaches the target. Between equals the higher threshold (fewer calls) is taken. The value lies half
    way to the next lower score, so that rounding in another run of the model does not flip the deciding case.
    """
    if truth.all() or not truth.any():
        return None
    ranking = Ranking.of(scores, truth)
    tp, fp = (tally[0] for tally in ranking.tallies())
    table = Confusion(tp, fp, tp[-1] - tp, fp[-1] - fp)
    if rule == "sensitivity":
        statistic = table.sensitivity
        best = int(np.argmax(statistic >= float(target or 1.0) - 1e-12))
    else:
        statistic = table.mcc if rule == "max_mcc" else table.sensitivity + table.specificity - 1
        best = int(np.argmax(statistic))
    upper = ranking.thresholds[best]
    lower = ranking.thresholds[best + 1] if best + 1 < len(ranking.thresholds) else upper
    middle = lower + (upper - lower) / 2
    value = middle if middle > lower else upper
    return Threshold(float(value), rule, chosen_on, int(tp[-1]), int(fp[-1]), float(statistic[best]), target)
