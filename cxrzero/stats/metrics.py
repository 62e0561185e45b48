"""Metrics of binary detection in NumPy, each for many weightings of the same rows at once.

A bootstrap resample is a vector of counts: how often each row was drawn. So every metric here takes weights of shape
(B, n) and returns (B,) values; the point estimate is the case of all ones. The scores are sorted once, and a resample
costs two cumulative sums. Conventions are those of scikit-learn: F1 and MCC are 0 where they would be 0/0, ratios
without a denominator are NaN, average precision is the step-wise sum without interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrzero.maths import Bools, Floats, Ints

ECE_BINS = 15  # equal-width bins of the expected calibration error: Guo et al., ICML 2017


def count_units(units: Ints) -> int:
    """How many different units (numbers from 0 on) there are; counting is many times faster than np.unique."""
    return int(np.count_nonzero(np.bincount(units)))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows in descending order of score, with rows of equal score grouped.

    Attributes:
        order: (n,) row indices, highest score first.
        ends: (G,) position in `order` of the last row of each group of equal scores.
        group: (n,) number of the group that each row (in its original place) belongs to.
        thresholds: (G,) the groups' scores, descending.
        truth: (n,) bool, in original order.
    """

    order: Ints
    ends: Ints
    group: Ints
    thresholds: Floats
    truth: Bools

    @classmethod
    def of(cls, scores: Floats, truth: Bools) -> Ranking:
        """Sort (n,) finite scores of rows with (n,) bool truth."""
        order = np.argsort(-scores)  # the order within a group of equal scores enters nothing
        ranked = scores[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        group = np.empty(len(order), dtype=np.int64)
        group[order] = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
        return cls(order, ends, group, ranked[ends], truth)

    def tallies(self, weights: npt.NDArray[np.number] | None = None) -> tuple[Floats, Floats]:
        """True and false positives at "score >= thresholds[g]": two (B, G) arrays for (B, n) weights.

        Without weights, B is 1 and each row counts once.
        """
        positive = self.truth[self.order]
        if weights is None:
            weights = np.ones((1, len(positive)), dtype=np.int64)
        ranked = weights[:, self.order]
        called = np.cumsum(ranked, axis=1)[:, self.ends].astype(np.float64)
        true_positives = np.cumsum(ranked * positive, axis=1)[:, self.ends].astype(np.float64)
        return true_positives, called - true_positives


def auroc_from_tallies(true_positives: Floats, false_positives: Floats) -> Floats:
    """(B,) area under the ROC curve (trapezoids: ties count one half) of (B, G) tallies; NaN with one class only."""
    n_positive, n_negative = true_positives[:, -1], false_positives[:, -1]
    # Σ (height of the trapezoid) · ΔFP, with TP doubled so that sums of counts stay exact integers.
    previous = np.concatenate([np.zeros((len(true_positives), 1)), true_positives[:, :-1]], axis=1)
    steps = np.diff(false_positives, axis=1, prepend=0.0)
    twice_area = np.einsum("bg,bg->b", true_positives + previous, steps)
    return _ratio(twice_area, 2.0 * n_positive * n_negative)


def average_precision_from_tallies(true_positives: Floats, false_positives: Floats) -> Floats:
    """(B,) average precision Σ ΔRecall · Precision of (B, G) tallies; NaN without positives."""
    called = true_positives + false_positives
    precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
    steps = np.diff(true_positives, axis=1, prepend=0.0)
    return _ratio(np.einsum("bg,bg->b", precision, steps), true_positives[:, -1])


def auroc(scores: Floats, truth: Bools) -> float:
    """Area under the ROC curve of (n,) scores against (n,) bool truth; NaN with one class only."""
    return float(aurocs(scores, truth)[0])


def aurocs(scores: Floats, truth: Bools, weights: npt.NDArray[np.number] | None = None) -> Floats:
    """(B,) areas under the ROC curve for (B, n) weights of the rows, or one with each row counted once."""
    return auroc_from_tallies(*Ranking.of(scores, truth).tallies(weights))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's ρ of two (n,) arrays without ties worth a mean rank."""

    def ranks(values: Floats) -> Floats:
        return values.argsort(kind="stable").argsort(kind="stable").astype(np.float64)

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def average_precision(scores: Floats, truth: Bools) -> float:
    """Average precision of (n,) scores against (n,) bool truth; NaN without positives."""
    return float(average_precision_from_tallies(*Ranking.of(scores, truth).tallies())[0])


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts (or resampled counts) of the four outcomes; the fields broadcast together.

    All metrics return arrays of the fields' shape.
    """

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @classmethod
    def of(cls, decisions: Bools, truth: Bools) -> Confusion:
        """Count (n,) bool decisions against (n,) bool truth."""
        tp, fp = np.sum(decisions & truth), np.sum(decisions & ~truth)
        fn, tn = np.sum(~decisions & truth), np.sum(~decisions & ~truth)
        return cls(*(np.asarray(count, dtype=np.float64) for count in (tp, fp, fn, tn)))

    @property
    def mcc(self) -> Floats:
        """Matthews correlation coefficient; 0 where a row or column of the table is empty."""
        called, not_called = self.tp + self.fp, self.fn + self.tn
        positive, negative = self.tp + self.fn, self.fp + self.tn
        # Square roots one by one: the product of four counts of a million would lose digits.
        scale = np.sqrt(called) * np.sqrt(not_called) * np.sqrt(positive) * np.sqrt(negative)
        return _ratio(self.tp * self.tn - self.fp * self.fn, scale, empty=0.0)

    @property
    def f1(self) -> Floats:
        """2·TP / (2·TP + FP + FN); 0 where there is neither a positive nor a call."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, empty=0.0)

    @property
    def sensitivity(self) -> Floats:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Floats:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> Floats:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> Floats:
        return _ratio(self.tn, self.tn + self.fn)


def ppv_at(prevalence: float, sensitivity: float, specificity: float) -> float:
    """PPV that these operating characteristics give at another prevalence (Bayes' rule); NaN for 0/0."""
    hits, false_alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return float(_ratio(np.asarray(hits), np.asarray(hits + false_alarms)))


def npv_at(prevalence: float, sensitivity: float, specificity: float) -> float:
    """NPV at another prevalence (Bayes' rule); NaN for 0/0."""
    return ppv_at(1 - prevalence, specificity, sensitivity)


def brier(probabilities: Floats, truth: Bools) -> float:
    """Mean squared difference of (n,) probabilities and (n,) truth (Brier, 1950)."""
    return float(np.mean((probabilities - truth) ** 2))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows with probabilities from `low` to `high`: the share of positives, and its interval where one was made."""

    low: float
    high: float
    n: int
    mean_probability: float
    observed: float
    observed_low: float = float("nan")
    observed_high: float = float("nan")


def reliability(probabilities: Floats, truth: Bools, n_bins: int = ECE_BINS) -> tuple[ReliabilityBin, ...]:
    """The non-empty ones of `n_bins` equal-width bins of [0, 1]; a bin holds its upper edge, the first also 0."""
    place = bin_of(probabilities, n_bins)
    counts = np.bincount(place, minlength=n_bins)
    sums = np.bincount(place, weights=probabilities, minlength=n_bins)
    hits = np.bincount(place, weights=truth.astype(np.float64), minlength=n_bins)
    return tuple(
        ReliabilityBin(b / n_bins, (b + 1) / n_bins, int(counts[b]), sums[b] / counts[b], hits[b] / counts[b])
        for b in np.flatnonzero(counts)
    )


def bin_of(probabilities: Floats, n_bins: int = ECE_BINS) -> Ints:
    """(n,) number of each one's bin, see `reliability`."""
    return np.clip(np.ceil(probabilities * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def expected_calibration_error(probabilities: Floats, truth: Bools, n_bins: int = ECE_BINS) -> float:
    """Σ (n_bin / n) · |observed − mean probability| over equal-width bins (Guo et al., ICML 2017, equation 5)."""
    bins = reliability(probabilities, truth, n_bins)
    return float(sum(b.n * abs(b.observed - b.mean_probability) for b in bins) / len(truth))


def _ratio(numerator: Floats, denominator: Floats, empty: float = np.nan) -> Floats:
    """Element-wise division with a stated value for 0 denominators."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, empty, dtype=np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)
