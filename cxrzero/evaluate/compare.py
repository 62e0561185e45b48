"""Two prediction tables on the same cases: paired differences with DeLong and bootstrap, corrected for many labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.discrimination import BOOTSTRAP_ROWS, NOTHING, Intervals
from cxrzero.maths import Floats
from cxrzero.stats import influence as influences
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import Estimate, holm, p_value, percentile, wald
from cxrzero.stats.metrics import Ranking, auroc_from_tallies, average_precision_from_tallies
from cxrzero.stats.resample import stratified_draws

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """This table minus the other, over the rows that both scored.

    Attributes:
        analytic: interval of paired DeLong (AUROC) or the paired jackknife (average precision); p is its p-value.
        bootstrap: interval of the paired stratified bootstrap.
        p_holm: p adjusted over all labels and other tables, per metric.
    """

    this: float
    other: float
    analytic: Estimate
    bootstrap: Estimate
    p: float
    p_holm: float = NAN


@dataclass(frozen=True, slots=True)
class Comparison:
    """One label, or the average over labels (`is_average`), against one other table."""

    other: str
    label: str
    n_positive: int
    n_negative: int
    auroc: PairedDifference
    average_precision: PairedDifference
    is_average: bool = False


def compare_tables(
    dataset: Dataset, others: dict[str, Dataset], macro_labels: Sequence[str], intervals: Intervals
) -> list[Comparison]:
    """Compare with each other table on every label they share; the macro average over shared ones of `macro_labels`."""
    made: list[Comparison] = []
    for name, other in others.items():
        parts: list[tuple[Influence, ...]] = []
        for label in (label for label in dataset.labels if label in other.labels):
            scores = dataset.scores_of(other, label)
            rows = np.flatnonzero(dataset.usable(label) & ~np.isnan(scores))
            truth = dataset.truth[label].values[rows] == 1
            if truth.all() or not truth.any():
                continue
            found, pair = _compare_label(dataset, name, label, rows, scores[rows], intervals)
            made.append(found)
            if label in macro_labels:
                parts.append(pair)
        if parts:
            made.append(_macro(dataset, name, parts, intervals))
    return _with_holm(made)


def _compare_label(
    dataset: Dataset, name: str, label: str, rows: np.ndarray, other_scores: Floats, intervals: Intervals
) -> tuple[Comparison, tuple[Influence, ...]]:
    truth, units = dataset.truth[label].values[rows] == 1, dataset.units[rows]
    rankings = [Ranking.of(dataset.scores[label][rows], truth), Ranking.of(other_scores, truth)]
    aurocs = [influences.auroc_influence(ranking, units) for ranking in rankings]
    precisions = [influences.average_precision_influence(ranking, units) for ranking in rankings]
    resamples = intervals.resampling.n_resamples if len(rows) <= BOOTSTRAP_ROWS else 0
    draws = _resampled(rankings, units, intervals) if resamples else None
    spread = tuple(each.spread(rows, len(dataset)) for each in (*aurocs, *precisions))
    n_positive = int(truth.sum())
    comparison = Comparison(
        name,
        label,
        n_positive,
        len(truth) - n_positive,
        _difference(spread[0], spread[1], dataset, draws and draws[0], intervals),
        _difference(spread[2], spread[3], dataset, draws and draws[1], intervals),
    )
    return comparison, spread


def _difference(
    this: Influence, other: Influence, dataset: Dataset, draws: list[Floats] | None, intervals: Intervals
) -> PairedDifference:
    gap = this - other
    error = gap.standard_error(dataset.units)
    analytic = wald(gap.value, error, intervals.confidence, "paired_delta") if error > 0 else Estimate(gap.value)
    bootstrap = NOTHING
    if draws is not None:
        bootstrap = percentile(gap.value, draws[0] - draws[1], intervals.confidence)
    p = p_value(gap.value / error) if error > 0 else (1.0 if gap.value == 0 else NAN)
    return PairedDifference(this.value, other.value, analytic, bootstrap, p)


def _resampled(
    rankings: Sequence[Ranking], units: np.ndarray, intervals: Intervals
) -> tuple[list[Floats], list[Floats]]:
    """Resampled AUROCs and average precisions of both rankings, from the same draws."""
    aurocs: list[list[Floats]] = [[], []]
    precisions: list[list[Floats]] = [[], []]
    for counts in stratified_draws(rankings[0].truth, units, intervals.resampling):
        for place, ranking in enumerate(rankings):
            tallies = ranking.tallies(counts)
            aurocs[place].append(auroc_from_tallies(*tallies))
            precisions[place].append(average_precision_from_tallies(*tallies))
    return [np.concatenate(a) for a in aurocs], [np.concatenate(p) for p in precisions]


def _macro(dataset: Dataset, name: str, parts: Sequence[tuple[Influence, ...]], intervals: Intervals) -> Comparison:
    means = [influences.mean([part[place] for part in parts]) for place in range(4)]
    return Comparison(
        name,
        dataset.average_name,
        0,
        0,
        _difference(means[0], means[1], dataset, None, intervals),
        _difference(means[2], means[3], dataset, None, intervals),
        is_average=True,
    )


def _with_holm(made: Sequence[Comparison]) -> list[Comparison]:
    """Adjust over all labels and tables; macro averages are one question per table and stay as they are."""
    per_label = [each for each in made if not each.is_average]
    adjusted: dict[int, Comparison] = {}
    auroc = holm([each.auroc.p for each in per_label])
    precision = holm([each.average_precision.p for each in per_label])
    for each, one, two in zip(per_label, auroc, precision, strict=True):
        adjusted[id(each)] = replace(
            each,
            auroc=replace(each.auroc, p_holm=one),
            average_precision=replace(each.average_precision, p_holm=two),
        )
    return [adjusted.get(id(each), each) for each in made]
