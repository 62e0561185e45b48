"""How far a label's probabilities can be read as frequencies, before and after its calibrator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cxrzero.calibration.file import Calibration
from cxrzero.evaluate.dataset import Dataset
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats.intervals import effective_size, wilson
from cxrzero.stats.metrics import ReliabilityBin, bin_of, brier, expected_calibration_error, reliability


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """One label's. method is None, and what comes after it empty, where there is no calibrator."""

    label: str
    brier: float
    ece: float
    bins: tuple[ReliabilityBin, ...]
    method: str | None = None
    brier_after: float = float("nan")
    ece_after: float = float("nan")
    bins_after: tuple[ReliabilityBin, ...] = ()


def probability_quality(
    dataset: Dataset, calibration: Calibration | None, confidence: float
) -> Iterator[ProbabilityQuality]:
    """Brier score, ECE and reliability bins of each label; none where scores are not probabilities."""
    for label in dataset.labels if dataset.probabilities else ():
        rows = dataset.usable(label)
        if not rows.any():
            continue
        probabilities, truth = dataset.scores[label][rows], dataset.truth[label].values[rows] == 1
        units = dataset.units[rows]
        quality = ProbabilityQuality(
            label,
            brier(probabilities, truth),
            expected_calibration_error(probabilities, truth),
            bins_of(probabilities, truth, units, confidence),
        )
        if calibrator := calibration.calibrators.get(label) if calibration else None:
            after = calibrator(probabilities)
            quality = replace(
                quality,
                method=str(calibrator.as_dict()["method"]),
                brier_after=brier(after, truth),
                ece_after=expected_calibration_error(after, truth),
                bins_after=bins_of(after, truth, units, confidence),
            )
        yield quality


def bins_of(probabilities: Floats, truth: Bools, units: Ints, confidence: float) -> tuple[ReliabilityBin, ...]:
    """Reliability bins with Wilson's interval of each observed share; of several rows in a unit, on the effective n.

    Args:
        probabilities, truth, units: (n,); rows of one unit (a patient) are not independent.
    """
    place = bin_of(probabilities)
    clustered = len(np.unique(units)) < len(units)
    found = []
    for each in reliability(probabilities, truth):
        members = place == bin_of(np.array([(each.low + each.high) / 2]))[0]
        hits = np.bincount(units[members][truth[members]], minlength=units.max() + 1).astype(np.float64)
        totals = np.bincount(units[members], minlength=units.max() + 1).astype(np.float64)
        size = effective_size(hits, totals) if clustered else None
        share = wilson(float(hits.sum()), float(totals.sum()), confidence, size)
        found.append(replace(each, observed_low=share.low, observed_high=share.high))
    return tuple(found)
