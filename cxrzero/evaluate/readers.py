"""The paper's comparison: a model at its thresholds against the mean of several readers, on the same cases.

Method: per case resampling (CheXzero, Methods, "Statistical analysis"); readers are taken as fixed, so the result
speaks of these readers and not of readers in general.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.discrimination import Intervals
from cxrzero.evaluate.operating import MACRO_METRICS
from cxrzero.maths import Floats
from cxrzero.stats.intervals import Estimate, bootstrap_p, holm, percentile
from cxrzero.stats.metrics import Confusion
from cxrzero.stats.resample import outcome_table, resampled_confusions
from cxrzero.stats.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Difference:
    """Model minus mean reader, with the two-sided bootstrap p-value; p_holm is adjusted over the labels."""

    estimate: Estimate
    p: float
    p_holm: float = float("nan")


@dataclass(frozen=True, slots=True)
class ReaderComparison:
    """One label (or the average over labels, `is_average`) over the cases that the model and every reader decided.

    Attributes:
        readers: reader → metric → value with interval; in the order given.
        mean_reader, model: metric → value with interval.
        differences: metric → model minus mean reader.
    """

    label: str
    n: int
    n_positive: int
    readers: dict[str, dict[str, Estimate]]
    mean_reader: dict[str, Estimate]
    model: dict[str, Estimate]
    differences: dict[str, Difference]
    is_average: bool = False


def compare_readers(
    dataset: Dataset, readers: Mapping[str, Dataset], thresholds: Mapping[str, Threshold], intervals: Intervals
) -> list[ReaderComparison]:
    """Compare per label and on average; labels without a threshold or that a reader did not read are left out.

    Raises:
        LabelError: no label has both a threshold and all readers.
        ConfigError: a reader's table holds something other than 0 and 1, or the tables have no case in common.
    """
    for name, reader in readers.items():
        _check_decisions(name, reader)
    labels = [
        label for label in dataset.labels if label in thresholds and all(label in r.labels for r in readers.values())
    ]
    if not labels:
        raise LabelError("no label has both a threshold of the model and decisions of every reader")
    tables, cases = [], []
    n_units = int(dataset.units.max()) + 1
    for label in labels:
        decisions = [dataset.scores[label], *(dataset.scores_of(reader, label) for reader in readers.values())]
        usable = dataset.usable(label) & ~np.any([np.isnan(each) for each in decisions], axis=0)
        if not usable.any():
            raise ConfigError(f"label {label!r}: no case was decided by the model and by every reader")
        cuts = [thresholds[label].value] + [0.5] * len(readers)
        truth = dataset.truth[label].values
        tables.append(
            [
                outcome_table(each >= cut, truth, usable, dataset.units, n_units)
                for each, cut in zip(decisions, cuts, strict=True)
            ]
        )
        cases.append((int(usable.sum()), int(np.sum(truth[usable] == 1))))
    return _results((*labels, dataset.average_name), list(readers), np.array(tables), cases, intervals)


def _results(
    names: Sequence[str],
    readers: Sequence[str],
    tables: Floats,
    cases: Sequence[tuple[int, int]],
    intervals: Intervals,
) -> list[ReaderComparison]:
    """Make comparisons of (L, 1 + R, U, 4) outcome tables, the model's first; the last name is the average's."""
    n_labels, n_raters, n_units, _ = tables.shape
    flat = tables.reshape(n_labels * n_raters, n_units, 4)
    observed = Confusion(*np.moveaxis(flat.sum(axis=1), 1, 0))
    resampled = resampled_confusions(flat, intervals.resampling)
    shape = (-1, n_labels, n_raters)
    values = {m: getattr(observed, m).reshape(shape)[0] for m in MACRO_METRICS}
    draws = {m: getattr(resampled, m).reshape(shape) for m in MACRO_METRICS}
    values = {m: np.vstack([v, v.mean(axis=0)]) for m, v in values.items()}
    draws = {m: np.concatenate([d, d.mean(axis=1, keepdims=True)], axis=1) for m, d in draws.items()}
    made = []
    for place, name in enumerate(names):
        n, n_positive = cases[place] if place < n_labels else (max(c[0] for c in cases), sum(c[1] for c in cases))
        raters = [
            {
                m: percentile(float(values[m][place, rater]), draws[m][:, place, rater], intervals.confidence)
                for m in MACRO_METRICS
            }
            for rater in range(n_raters)
        ]
        mean_reader, differences = {}, {}
        for m in MACRO_METRICS:
            mean_value, mean_draws = float(values[m][place, 1:].mean()), draws[m][:, place, 1:].mean(axis=1)
            mean_reader[m] = percentile(mean_value, mean_draws, intervals.confidence)
            gaps = draws[m][:, place, 0] - mean_draws
            gap = percentile(float(values[m][place, 0]) - mean_value, gaps, intervals.confidence)
            differences[m] = Difference(gap, bootstrap_p(gaps))
        named = dict(zip(readers, raters[1:], strict=True))
        is_average = place == n_labels
        made.append(ReaderComparison(name, n, n_positive, named, mean_reader, raters[0], differences, is_average))
    return _with_holm(made)


def _with_holm(made: Sequence[ReaderComparison]) -> list[ReaderComparison]:
    """Adjust each metric's p-values over the labels; the macro average is one question of its own."""
    for metric in MACRO_METRICS:
        per_label = made[:-1]
        for each, p in zip(per_label, holm([c.differences[metric].p for c in per_label]), strict=True):
            plain = each.differences[metric]
            each.differences[metric] = Difference(plain.estimate, plain.p, p)
    return list(made)


def _check_decisions(name: str, reader: Dataset) -> None:
    for label in reader.labels:
        values = reader.scores[label]
        if not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
            raise ConfigError(f"reader {name}: column {label!r} holds something other than 0 and 1 (decisions)")
