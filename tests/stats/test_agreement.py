"""Agreement of two scores against SciPy and scikit-learn, against sums over all pairs, and its intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from cxrzero.stats import agreement
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import fisher_wald
from cxrzero.stats.metrics import Confusion
from cxrzero.stats.resample import Resampling
from tests.support.needs import optional

sk = optional("sklearn.metrics")
scipy = optional("scipy.stats")

EXACT = 1e-12
N = 120


def pair(seed: int, n: int = N, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    one, other = (common + rng.normal(size=n) for _ in range(2))
    return (np.round(one * levels), np.round(other * levels)) if levels else (one, other)


def own(n: int = N) -> np.ndarray:
    return np.arange(n)


@pytest.mark.parametrize("levels", [None, 20, 3, 1])
@pytest.mark.parametrize("seed", range(4))
def test_correlations_agree_with_scipy(seed: int, levels: int | None) -> None:
    one, other = pair(seed, levels=levels)
    spearman, tau = (f(one, other, own()) for f in (agreement.spearman_influence, agreement.tau_b_influence))
    assert spearman.value == pytest.approx(scipy.spearmanr(one, other).statistic, abs=EXACT)
    assert tau.value == pytest.approx(scipy.kendalltau(one, other).statistic, abs=EXACT)


def test_tau_b_by_hand() -> None:
    """Six pairs: one tied in the one, one in the other, four concordant: 4 / √(5·5)."""
    one, other = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 2, 3])
    assert agreement.tau_b_influence(one, other, own(4)).value == pytest.approx(4 / 5, abs=EXACT)


def test_scores_that_tie_and_order_the_same_rows_agree_fully() -> None:
    one = np.array([0.1, 0.1, 0.2, 0.5, 0.5])
    for found in (agreement.spearman_influence, agreement.tau_b_influence):
        assert found(one, one * 3 + 1, own(5)).value == pytest.approx(1, abs=EXACT)
        assert found(one, -one, own(5)).value == pytest.approx(-1, abs=EXACT)


@pytest.mark.parametrize("found", [agreement.spearman_influence, agreement.tau_b_influence])
def test_one_value_only_has_no_correlation(found: Callable[..., Influence]) -> None:
    for values in (np.full(5, 0.5), np.array([0.5]), np.array([])):
        made = found(values, np.arange(len(values), dtype=float), own(len(values)))
        assert math.isnan(made.value)
        assert not made.rows.any()


def weighted_tau_b(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    signs = [np.sign(np.subtract.outer(values, values)) for values in (one, other)]
    both = np.outer(weights, weights)
    scale = math.sqrt(float((both * signs[0] ** 2).sum()) * float((both * signs[1] ** 2).sum()))
    return float((both * signs[0] * signs[1]).sum()) / scale


def weighted_spearman(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    ranks = [((np.sign(np.subtract.outer(values, values)) + 1) / 2) @ weights for values in (one, other)]
    u, v = (each - np.average(each, weights=weights) for each in ranks)
    return float((weights * u * v).sum() / np.sqrt((weights * u * u).sum() * (weights * v * v).sum()))


def weighted_kappa(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> float:
    return float(sk.cohen_kappa_score(one > 0, other > 0, sample_weight=weights))


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize(
    ("found", "weighted"),
    [
        (agreement.tau_b_influence, weighted_tau_b),
        (agreement.spearman_influence, weighted_spearman),
        (lambda one, other, units: agreement.kappa_influence(one > 0, other > 0, units), weighted_kappa),
    ],
)
def test_an_influence_is_the_derivative_by_the_weight_of_a_row(
    found: Callable[..., Influence], weighted: Callable[..., float], levels: int | None
) -> None:
    one, other = pair(3, 40, levels)
    made = found(one, other, own(40))
    assert made.value == pytest.approx(weighted(one, other, np.ones(40)), abs=EXACT)
    for row in range(0, 40, 7):
        sides = []
        for step in (1e-5, -1e-5):
            weights = np.ones(40)
            weights[row] += step
            sides.append(weighted(one, other, weights))
        slope = (sides[0] - sides[1]) / 2e-5
        assert made.rows[row] == pytest.approx(slope * math.sqrt(40 / 39), abs=1e-7)
    assert made.rows.sum() == pytest.approx(0, abs=1e-9)


def test_units_are_what_is_drawn() -> None:
    """Every row twice, as one patient's: the error is that of the patients, not of twice as many rows."""
    one, other = pair(5, 60)
    twice = np.repeat(own(60), 2)
    for found in (agreement.spearman_influence, agreement.tau_b_influence):
        single = found(one, other, own(60)).standard_error(own(60))
        doubled = found(np.repeat(one, 2), np.repeat(other, 2), twice).standard_error(twice)
        assert doubled == pytest.approx(single, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_kappa_agrees_with_scikit_learn(seed: int) -> None:
    one, other = (values > 0.7 for values in pair(seed))
    assert float(agreement.kappa(Confusion.of(one, other))) == pytest.approx(
        sk.cohen_kappa_score(one, other), abs=EXACT
    )


def test_kappa_where_nothing_varies() -> None:
    never, some = np.zeros(4, bool), np.array([True, False, False, False])
    assert math.isnan(agreement.kappa_influence(never, never, own(4)).value)
    assert agreement.kappa_influence(never, some, own(4)).value == 0


@pytest.mark.parametrize(
    ("only_one", "only_other"), [(0, 0), (0, 6), (3, 9), (5, 5), (40, 70), (4000, 4200), (0, 3000)]
)
def test_mcnemar_is_the_exact_binomial_test(only_one: int, only_other: int) -> None:
    n = only_one + only_other
    expected = scipy.binomtest(only_one, n).pvalue if n else 1.0
    assert agreement.mcnemar_p(only_one, only_other) == pytest.approx(expected, rel=1e-9)


def test_the_gap_of_shares_has_the_error_of_the_paired_difference() -> None:
    one, other = (values > 0.3 for values in pair(2))
    made = agreement.share_gap_influence(one, other, own())
    gaps = other.astype(float) - one
    assert made.value == pytest.approx(gaps.mean(), abs=EXACT)
    assert made.standard_error(own()) == pytest.approx(gaps.std(ddof=1) / math.sqrt(N), abs=EXACT)


def test_the_largest_gap_is_that_of_kolmogorov_and_smirnov() -> None:
    one, other = pair(1, levels=4)
    other = other[:50] + 1
    assert agreement.largest_gap(one, other) == pytest.approx(scipy.ks_2samp(one, other).statistic, abs=EXACT)


def test_ties_are_counted() -> None:
    assert agreement.tied_share(np.array([1.0, 1, 2, 3])) == 0.5
    assert agreement.shares_below(np.array([1.0, 1, 2, 3])).tolist() == [0.25, 0.25, 0.625, 0.875]


@pytest.mark.parametrize("levels", [None, 2])
def test_a_resample_is_the_correlation_of_the_rows_drawn(levels: int | None) -> None:
    one, other = pair(4, 30, levels)
    how = Resampling(200, seed=7)
    found = agreement.resampled_spearman(one, other, own(30), how)
    drawn = np.random.default_rng(7).integers(0, 30, size=(200, 30))
    expected = [scipy.spearmanr(one[rows], other[rows]).statistic for rows in drawn]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    kappas = agreement.resampled_kappas(one > 0, other > 0, own(30), how)
    np.testing.assert_allclose(kappas, [sk.cohen_kappa_score(one[r] > 0, other[r] > 0) for r in drawn], atol=1e-9)


@pytest.mark.parametrize("found", [agreement.spearman_influence, agreement.tau_b_influence])
def test_intervals_hold_the_true_value_about_as_often_as_they_say(found: Callable[..., Influence]) -> None:
    """Two scores with a normal common part: Pearson's r is ½, and of ranks the known functions of it."""
    true = {"spearman_influence": 6 / math.pi * math.asin(0.25), "tau_b_influence": 2 / math.pi * math.asin(0.5)}
    held = 0
    for seed in range(400):
        one, other = pair(seed, 60)
        made = found(one, other, own(60))
        interval = fisher_wald(made.value, made.standard_error(own(60)), 0.95)
        held += interval.low <= true[found.__name__] <= interval.high
    assert 0.91 <= held / 400 <= 0.98
