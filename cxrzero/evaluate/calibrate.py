"""What is fitted on labelled scores for later runs: a threshold and a calibrator for each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cxrzero.calibration.file import Calibration, FittedOn, LabelCalibration, Tested, binding
from cxrzero.choices import CalibratorMethod, ThresholdRule
from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.operating import OperatingPoint
from cxrzero.stats.calibrators import fit_calibrator
from cxrzero.stats.thresholds import choose_threshold


def fit_calibration(
    dataset: Dataset, rule: ThresholdRule, target: float | None, method: CalibratorMethod | None, *, in_sample: bool
) -> Calibration:
    """Choose thresholds and fit calibrators on a dataset. Without probabilities (logits) only thresholds."""
    fitted = {}
    for label in dataset.labels:
        rows = dataset.usable(label)
        scores, truth = dataset.scores[label][rows], dataset.truth[label].values[rows] == 1
        threshold = choose_threshold(scores, truth, rule, target, "in_sample" if in_sample else "validation")
        calibrator = fit_calibrator(scores, truth, method) if method and dataset.probabilities else None
        n_positive = int(truth.sum())
        fitted[label] = LabelCalibration(threshold, calibrator, n_positive, len(truth) - n_positive)
    row = "study" if dataset.join.level == "study" else "film"
    fitted_on = FittedOn(len(dataset), row, len(set(dataset.unit_keys)), dataset.unit)
    return Calibration(fitted, binding(dataset.manifest), in_sample, fitted_on)


def tested_on_others(calibration: Calibration, dataset: Dataset, points: Mapping[str, OperatingPoint]) -> Calibration:
    """The same with what its thresholds reach on a dataset that shares no unit with the one it was fitted on.

    Nothing is added for a label without both classes there, or where the dataset's scores are of another model.
    """
    if calibration.binding != binding(dataset.manifest):
        return calibration
    labels = {
        label: replace(each, tested=_tested(points[label])) if label in points else each
        for label, each in calibration.labels.items()
    }
    return replace(calibration, labels=labels)


def _tested(point: OperatingPoint) -> Tested | None:
    n_positive, n_negative = point.tp + point.fn, point.tn + point.fp
    if not n_positive or not n_negative:
        return None
    return Tested(float(point.sensitivity.value), float(point.specificity.value), n_positive, n_negative)
