"""How much each row moves a metric: one device for every analytic interval here.

If θ is a metric and ψ_i the influence of row i on it, then Var θ ≈ Σ_k (Σ_{i in k} ψ_i)² over independent units k
(patients, or single rows). Sums and differences of metrics have the sums and differences of their influences, which
gives macro averages, paired comparisons and gaps between subgroups their covariances for free.

For AUROC without clusters this is exactly DeLong, DeLong and Clarke-Pearson (Biometrics 1988; 44:837–845); with
clusters it follows Obuchowski (Biometrics 1997; 53:567–578). For average precision it is the infinitesimal jackknife
(Efron, JRSS B 1992; 54:83–127), and for MCC and F1 the delta method on the four counts, which is the same thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats.metrics import Confusion, Ranking, count_units


@dataclass(frozen=True, slots=True)
class Influence:
    """A metric's value and the (n,) influences of the rows; rows that play no part have 0."""

    value: float
    rows: Floats

    def variance(self, units: Ints) -> float:
        """Variance of the value when the (n,) `units` are the independent draws."""
        sums = np.bincount(units, weights=self.rows)
        return float(np.dot(sums, sums))

    def standard_error(self, units: Ints) -> float:
        return math.sqrt(self.variance(units))

    def __sub__(self, other: Influence) -> Influence:
        return Influence(self.value - other.value, self.rows - other.rows)

    def spread(self, places: Ints, n: int) -> Influence:
        """The same influence among `n` rows, of which these are the ones at `places`."""
        rows = np.zeros(n)
        rows[places] = self.rows
        return Influence(self.value, rows)


def mean(influences: list[Influence]) -> Influence:
    """The macro average of metrics over the same rows.

    Raises:
        ValueError: the list is empty.
    """
    if not influences:
        raise ValueError("no metric to average")
    value = sum(each.value for each in influences) / len(influences)
    rows = np.zeros_like(influences[0].rows)
    for each in influences:
        rows += each.rows
    return Influence(value, rows / len(influences))


def auroc_influence(ranking: Ranking, units: Ints) -> Influence:
    """AUROC and its structural components (DeLong 1988, equations 4 and 5), centred and scaled per class."""
    tp, fp = (tally[0] for tally in ranking.tallies())
    n_positive, n_negative = tp[-1], fp[-1]
    fp_before, tp_before = fp - np.diff(fp, prepend=0.0), tp - np.diff(tp, prepend=0.0)
    # Share of the other class that a row of each group is ranked before (positives) or after (negatives); ties half.
    beaten = 1 - (fp + fp_before) / (2 * n_negative)
    missed = (tp + tp_before) / (2 * n_positive)
    components = np.where(ranking.truth, beaten[ranking.group], missed[ranking.group])
    value = float(np.dot(beaten, np.diff(tp, prepend=0.0)) / n_positive)
    rows = np.where(ranking.truth, (components - value) / n_positive, (components - value) / n_negative)
    return Influence(value, _small_sample(rows, ranking.truth, units))


def average_precision_influence(ranking: Ranking, units: Ints) -> Influence:
    """Average precision and its derivative with respect to each row's weight, centred per class.

    With T_g, N_g the positives and rows down to group g and D_g the group's own positives, AP = Σ D_g T_g / N_g / P.
    """
    tp, fp = (tally[0] for tally in ranking.tallies())
    called, steps, n_positive = tp + fp, np.diff(tp, prepend=0.0), tp[-1]
    precision = tp / called
    value = float(np.dot(steps, precision) / n_positive)
    later_gain = np.cumsum((steps / called)[::-1])[::-1]
    later_loss = np.cumsum((steps * tp / called**2)[::-1])[::-1]
    gain = np.where(ranking.truth, (precision + later_gain)[ranking.group] - value, 0.0)
    rows = (gain - later_loss[ranking.group]) / n_positive
    for member in (ranking.truth, ~ranking.truth):
        rows[member] -= rows[member].mean()
    return Influence(value, _small_sample(rows, ranking.truth, units))


def _small_sample(rows: Floats, truth: Bools, units: Ints) -> Floats:
    """Scale each class by √(I/(I − 1)), I its number of units, as DeLong's and Obuchowski's variances do."""
    for member in (truth, ~truth):
        n_units = count_units(units[member])
        if n_units > 1:
            rows[member] *= math.sqrt(n_units / (n_units - 1))
    return rows


def mcc_influence(decisions: Bools, truth: Bools) -> Influence:
    """MCC and, by the delta method, the influence of (n,) rows on it."""
    table = Confusion.of(decisions, truth)
    tp, fp, fn, tn = (float(count) for count in (table.tp, table.fp, table.fn, table.tn))
    value = float(table.mcc)
    margins = (tp + fp, tp + fn, tn + fp, tn + fn)
    if min(margins) == 0:
        return Influence(value, np.zeros(len(truth)))
    called, positive, negative, cleared = (1 / margin for margin in margins)
    root = math.sqrt(called) * math.sqrt(positive) * math.sqrt(negative) * math.sqrt(cleared)
    gradient = (
        tn * root - value / 2 * (called + positive),
        -fn * root - value / 2 * (called + negative),
        -fp * root - value / 2 * (cleared + positive),
        tp * root - value / 2 * (cleared + negative),
    )
    return Influence(value, _by_outcome(gradient, decisions, truth))


def f1_influence(decisions: Bools, truth: Bools) -> Influence:
    """F1 and, by the delta method, the influence of (n,) rows on it."""
    table = Confusion.of(decisions, truth)
    tp, wrong = float(table.tp), float(table.fp + table.fn)
    total = 2 * tp + wrong
    if total == 0:
        return Influence(0.0, np.zeros(len(truth)))
    miss = -2 * tp / total**2
    return Influence(float(table.f1), _by_outcome((2 * wrong / total**2, miss, miss, 0.0), decisions, truth))


def _by_outcome(gradient: tuple[float, float, float, float], decisions: Bools, truth: Bools) -> Floats:
    tp, fp, fn, tn = gradient
    return np.where(decisions, np.where(truth, tp, fp), np.where(truth, fn, tn))


def share_influence(hits: Bools, members: Bools) -> Influence:
    """Share of hits among the member rows (sensitivity, specificity) and the rows' influence on it.

    The value is NaN without members.
    """
    n_members = int(members.sum())
    if n_members == 0:
        return Influence(float("nan"), np.zeros(len(members)))
    value = float((hits & members).sum()) / n_members
    return Influence(value, np.where(members, hits - value, 0.0) / n_members)
