"""What is fitted on labelled scores for later runs: a threshold and a calibrator for each label."""

from __future__ import annotations

from cxrzero.calibration.file import Calibration, LabelCalibration, binding
from cxrzero.choices import CalibratorMethod, ThresholdRule
from cxrzero.evaluate.dataset import Dataset
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
    return Calibration(fitted, binding(dataset.manifest), in_sample)
