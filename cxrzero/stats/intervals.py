"""Confidence intervals and p-values. Which is used for what, and how well each covers, is in docs/eval.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cxrzero.maths import Floats, sigmoid

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its interval; NaN where there is none.

    Attributes:
        method: how the interval was made: "delong_logit", "newcombe", "bootstrap_percentile", "wilson", …
        n_resamples: resamples that entered a bootstrap interval (those without both classes do not); 0 otherwise.
    """

    value: float
    low: float = NAN
    high: float = NAN
    method: str = "none"
    n_resamples: int = 0


def z_of(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def p_value(z: float) -> float:
    """Two-sided p-value of a standard normal statistic."""
    return math.erfc(abs(z) / math.sqrt(2))


def wald(value: float, standard_error: float, confidence: float, method: str = "wald") -> Estimate:
    half = z_of(confidence) * standard_error
    return Estimate(value, value - half, value + half, method)


def logit_wald(value: float, standard_error: float, confidence: float, method: str) -> Estimate:
    """Wald interval on the logit scale, mapped back: stays in (0, 1), longer towards 0.5.

    For AUROC see Pepe, The Statistical Evaluation of Medical Tests (2003), section 5.2. The value must lie in (0, 1).
    """
    centre = math.log(value / (1 - value))
    half = z_of(confidence) * standard_error / (value * (1 - value))
    return Estimate(value, sigmoid(centre - half), sigmoid(centre + half), method)


def fisher_wald(value: float, standard_error: float, confidence: float, method: str = "fisher_z") -> Estimate:
    """Wald interval of a correlation on the scale of Fisher's z (Metron 1921; 1:3–32), mapped back: stays in (−1, 1).

    There is none where the value is ±1 or NaN, or nothing varies.
    """
    if not abs(value) < 1 or not standard_error > 0:
        return Estimate(value)
    centre, half = math.atanh(value), z_of(confidence) * standard_error / (1 - value**2)
    return Estimate(value, math.tanh(centre - half), math.tanh(centre + half), method)


def newcombe(value: float, n_positive: float, n_negative: float, confidence: float) -> Estimate:
    """Score-type interval for AUROC: method 5 of Newcombe (Statistics in Medicine 2006; 25:559–573).

    All θ with |θ − value| ≤ z·√V(θ), V being Hanley and McNeil's variance with both class sizes replaced by their
    mean in the correction term. It never degenerates, not even at an AUROC of 1.
    """
    z, mean_size = z_of(confidence), (n_positive + n_negative) / 2

    def excess(theta: float) -> float:
        bracket = 1 + (mean_size - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - value) ** 2 - z**2 * theta * (1 - theta) * bracket / (n_positive * n_negative)

    low = 0.0 if value <= 0 else _bisect(excess, 0.0, value)
    high = 1.0 if value >= 1 else _bisect(excess, 1.0, value)
    return Estimate(value, low, high, "newcombe")


def span(one: Estimate, other: Estimate) -> Estimate:
    """The smallest interval that holds both."""
    method = f"{one.method}+{other.method}"
    return Estimate(one.value, min(one.low, other.low), max(one.high, other.high), method)


def wilson(successes: float, n: float, confidence: float, effective_n: float | None = None) -> Estimate:
    """Wilson's score interval for a proportion (JASA 1927; 22:209–212); with clusters, on the effective sample size."""
    if n == 0:
        return Estimate(NAN)
    value, z = successes / n, z_of(confidence)
    size = n if effective_n is None else effective_n
    centre = (value + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(value * (1 - value) / size + z**2 / (4 * size**2))
    method = "wilson" if effective_n is None else "wilson_effective_n"
    return Estimate(value, max(0.0, min(centre - half, value)), min(1.0, max(centre + half, value)), method)


def effective_size(successes: Floats, totals: Floats) -> float:
    """Rows that would carry as much about a proportion as these units do (Rao and Scott, Biometrics 1992; 48:577–585).

    Args:
        successes, totals: (K,) successes and rows of each unit; units without rows may be included.
    """
    used = totals > 0
    successes, totals = successes[used], totals[used]
    n_units, n = len(totals), float(totals.sum())
    if n_units < 2:
        return float(n_units)
    share = float(successes.sum()) / n
    variance = n_units / (n_units - 1) * float(np.sum((successes - share * totals) ** 2)) / n**2
    if variance == 0:  # every unit alike: nothing says how alike rows within a unit are, so count units
        return float(n_units)
    return float(np.clip(share * (1 - share) / variance, 1.0, n))


def predictive_value(
    prevalence: float, hits: float, n_hits: float, correct: float, n_correct: float, confidence: float
) -> Estimate:
    """PPV at a stated prevalence from sensitivity hits/n_hits and specificity correct/n_correct, with its interval.

    The adjusted logit interval of Mercaldo, Lau and Zhou (Statistics in Medicine 2007; 26:2170–2183). The NPV is the
    same with the roles of the classes exchanged.
    """
    if n_hits == 0 or n_correct == 0:
        return Estimate(NAN)
    z2 = z_of(confidence) ** 2
    sensitivity, specificity = (hits + z2 / 2) / (n_hits + z2), (correct + z2 / 2) / (n_correct + z2)
    centre = math.log(prevalence * sensitivity) - math.log((1 - prevalence) * (1 - specificity))
    variance = (1 - sensitivity) / (sensitivity * (n_hits + z2))
    variance += specificity / ((1 - specificity) * (n_correct + z2))
    half = z_of(confidence) * math.sqrt(variance)
    true_alarms, false_alarms = prevalence * hits / n_hits, (1 - prevalence) * (1 - correct / n_correct)
    value = true_alarms / (true_alarms + false_alarms) if true_alarms + false_alarms > 0 else NAN
    low, high = sigmoid(centre - half), sigmoid(centre + half)
    return Estimate(value, min(low, value), max(high, value), "adjusted_logit")


def percentile(value: float, resampled: Floats, confidence: float, method: str = "bootstrap_percentile") -> Estimate:
    """Percentile bootstrap interval of (B,) resampled values; undefined (NaN) resamples are left out and counted.

    Resamples that never vary (no call in any of them, say) know nothing of uncertainty: then there is no interval.
    """
    defined = resampled[np.isfinite(resampled)]
    if len(defined) == 0 or math.isnan(value) or defined.min() == defined.max():
        return Estimate(value)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), method, len(defined))


def all_alike(value: float, n: int, confidence: float, lowest: float, highest: float) -> Estimate:
    """Interval of a mean of which all n independent values seen are the same, so that no bootstrap varies.

    Wilson's lower bound for n of n says how many of all there are at least like this; the rest may be at worst all
    `lowest` or all `highest`, the ends of what a value can be. For n hits of n it is Wilson's interval.
    """
    if n == 0 or math.isnan(value):
        return Estimate(value)
    share = wilson(n, n, confidence).low
    low, high = (share * value + (1 - share) * end for end in (lowest, highest))
    return Estimate(value, low, high, "wilson_all_alike")


def bootstrap_p(differences: Floats) -> float:
    """Two-sided bootstrap p-value that a difference is 0: twice the smaller tail of (B,) resampled differences.

    One is added to the count and to B, so that it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    defined = differences[np.isfinite(differences)]
    if len(defined) == 0:
        return NAN
    smaller = min(int(np.sum(defined <= 0)), int(np.sum(defined >= 0)))
    return min(1.0, 2 * (smaller + 1) / (len(defined) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 1979; 6:65–70); NaN stays NaN."""
    tested = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [NAN] * len(p_values)
    running = 0.0
    for rank, (p, place) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = running
    return adjusted


def _bisect(excess: Callable[[float], float], outside: float, inside: float) -> float:
    """Root of `excess` between a point where it is >= 0 and one where it is < 0, to the last bit of a double."""
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if excess(middle) > 0 else (outside, middle)
    return (outside + inside) / 2
