"""Results at a threshold: counts, MCC, F1, sensitivity, specificity and predictive values, per label and on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.discrimination import BOOTSTRAP_ROWS, NOTHING, Intervals
from cxrzero.maths import Bools, Floats
from cxrzero.stats import influence as influences
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import Estimate, effective_size, percentile, predictive_value, wald, wilson
from cxrzero.stats.metrics import Confusion
from cxrzero.stats.resample import outcome_table, resampled_confusions
from cxrzero.stats.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One label at its threshold. ppv_at and npv_at are at the prevalence that the user stated."""

    label: str
    threshold: Threshold
    tp: int
    fp: int
    fn: int
    tn: int
    mcc: Estimate
    f1: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    ppv_at: Estimate = NOTHING
    npv_at: Estimate = NOTHING


@dataclass(frozen=True, slots=True)
class MacroOperating:
    """Unweighted means over labels, resampled jointly."""

    labels: tuple[str, ...]
    mcc: Estimate
    f1: Estimate
    sensitivity: Estimate
    specificity: Estimate


MACRO_METRICS = ("mcc", "f1", "sensitivity", "specificity")


def operating_points(
    dataset: Dataset,
    thresholds: Mapping[str, Threshold],
    enough: Sequence[str],
    intervals: Intervals,
    prevalence: float | None = None,
) -> tuple[dict[str, OperatingPoint], MacroOperating | None]:
    """Apply each label's threshold.

    Args:
        enough: labels that enter the macro average; where none of them has a threshold, all with one do.
        prevalence: at which predictive values are stated as well.
    """
    labels = [label for label in dataset.labels if label in thresholds and dataset.usable(label).any()]
    if not labels:
        return {}, None
    decided = {label: dataset.scores[label] >= thresholds[label].value for label in labels}
    n_units = int(dataset.units.max()) + 1
    tables = np.stack(
        [
            outcome_table(decided[label], dataset.truth[label].values, dataset.usable(label), dataset.units, n_units)
            for label in labels
        ]
    )
    macro_labels = [label for label in labels if label in enough] or labels
    spreads, macro = _spreads(dataset, decided, tables, labels, macro_labels, intervals)
    points = {
        label: _point(label, thresholds[label], table, spreads[label], intervals, prevalence)
        for label, table in zip(labels, tables, strict=True)
    }
    return points, MacroOperating(tuple(macro_labels), *(macro[metric] for metric in MACRO_METRICS))


def _spreads(
    dataset: Dataset,
    decided: Mapping[str, Bools],
    tables: Floats,
    labels: Sequence[str],
    macro_labels: Sequence[str],
    intervals: Intervals,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Estimate]]:
    """Estimates that need resampling: MCC and F1 per label, and the macro averages."""
    if tables.shape[1] > BOOTSTRAP_ROWS or not intervals.resampling.n_resamples:
        return _delta_spreads(dataset, decided, labels, macro_labels, intervals)
    observed, resampled = _sum(tables), resampled_confusions(tables, intervals.resampling)
    out: dict[str, dict[str, Estimate]] = {label: {} for label in labels}
    macro: dict[str, Estimate] = {}
    in_macro = [place for place, label in enumerate(labels) if label in macro_labels]
    for metric in MACRO_METRICS:
        values, draws = getattr(observed, metric), getattr(resampled, metric)
        macro[metric] = percentile(
            float(values[in_macro].mean()), draws[:, in_macro].mean(axis=1), intervals.confidence
        )
        if metric in ("mcc", "f1"):
            for place, label in enumerate(labels):
                out[label][metric] = percentile(float(values[place]), draws[:, place], intervals.confidence)
    return out, macro


def _delta_spreads(
    dataset: Dataset,
    decided: Mapping[str, Bools],
    labels: Sequence[str],
    macro_labels: Sequence[str],
    intervals: Intervals,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, Estimate]]:
    """The same by the delta method, for tables so large that it agrees with the bootstrap."""
    out: dict[str, dict[str, Estimate]] = {}
    parts: dict[str, list[Influence]] = {metric: [] for metric in MACRO_METRICS}
    for label in labels:
        rows = np.flatnonzero(dataset.usable(label))
        calls, truth = decided[label][rows], dataset.truth[label].values[rows] == 1
        made = {
            "mcc": influences.mcc_influence(calls, truth),
            "f1": influences.f1_influence(calls, truth),
            "sensitivity": influences.share_influence(calls, truth),
            "specificity": influences.share_influence(~calls, ~truth),
        }
        units = dataset.units[rows]
        out[label] = {metric: _delta(made[metric], units, intervals) for metric in ("mcc", "f1")}
        if label in macro_labels:
            for metric, each in made.items():
                parts[metric].append(each.spread(rows, len(dataset)))
    macro = {metric: _delta(influences.mean(each), dataset.units, intervals) for metric, each in parts.items()}
    return out, macro


def _delta(each: Influence, units: np.ndarray, intervals: Intervals) -> Estimate:
    return wald(each.value, each.standard_error(units), intervals.confidence, "delta")


def _point(
    label: str,
    threshold: Threshold,
    table: Floats,
    spread: Mapping[str, Estimate],
    intervals: Intervals,
    prevalence: float | None,
) -> OperatingPoint:
    """One label's (U, 4) outcome table as estimates."""
    tp, fp, fn, tn = table.T
    rows_per_unit = table.sum(axis=1)
    clustered = bool((rows_per_unit > 1).any())

    def share(hits: Floats, totals: Floats) -> Estimate:
        size = effective_size(hits, totals) if clustered else None
        return wilson(float(hits.sum()), float(totals.sum()), intervals.confidence, size)

    sensitivity, specificity = share(tp, tp + fn), share(tn, tn + fp)
    ppv_at = npv_at = NOTHING
    if prevalence is not None:
        n_hits = effective_size(tp, tp + fn) if clustered else float((tp + fn).sum())
        n_correct = effective_size(tn, tn + fp) if clustered else float((tn + fp).sum())
        found, cleared = sensitivity.value * n_hits, specificity.value * n_correct
        ppv_at = predictive_value(prevalence, found, n_hits, cleared, n_correct, intervals.confidence)
        npv_at = predictive_value(1 - prevalence, cleared, n_correct, found, n_hits, intervals.confidence)
    return OperatingPoint(
        label,
        threshold,
        tp=int(tp.sum()),
        fp=int(fp.sum()),
        fn=int(fn.sum()),
        tn=int(tn.sum()),
        mcc=spread["mcc"],
        f1=spread["f1"],
        sensitivity=sensitivity,
        specificity=specificity,
        ppv=share(tp, tp + fp),
        npv=share(tn, tn + fn),
        ppv_at=ppv_at,
        npv_at=npv_at,
    )


def _sum(tables: Floats) -> Confusion:
    """Confusion of shape (T,) for (T, U, 4) outcome tables."""
    return Confusion(*np.moveaxis(tables.sum(axis=1), 1, 0))
