"""Intervals: published worked examples, brute force, and what must hold for any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrzero.evaluate.discrimination import Intervals, auroc_estimate, rank_scores
from cxrzero.stats import influence as influences
from cxrzero.stats.intervals import (
    effective_size,
    holm,
    logit_wald,
    newcombe,
    p_value,
    percentile,
    predictive_value,
    wald,
    wilson,
)
from cxrzero.stats.metrics import Ranking
from cxrzero.stats.resample import (
    Resampling,
    draw_counts,
    outcome_table,
    resampled_confusions,
    resampled_ranks,
    stratified_draws,
)
from tests.support.needs import optional

sk = optional("sklearn.metrics")

# DeLong, DeLong and Clarke-Pearson, Biometrics 1988; 44:837-845: 49 patients with ovarian cancer, of whom 43 have all
# three tests. Columns albumin, total protein, K-G score, outcome. The figures expected below are those printed in the
# SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves".
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""


@pytest.fixture(scope="module")
def ovarian() -> dict[str, influences.Influence]:
    rows = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    truth, units = rows[:, 3] == 1, np.arange(len(rows))
    tests = {"albumin": rows[:, 0], "protein": rows[:, 1], "kg": 10 - rows[:, 2]}
    return {name: influences.auroc_influence(Ranking.of(s, truth), units) for name, s in tests.items()}


@pytest.mark.parametrize(
    ("test", "area", "error", "low", "high"),
    [
        ("albumin", 0.7366, 0.0927, 0.5549, 0.9182),
        ("kg", 0.7258, 0.1028, 0.5243, 0.9273),
        ("protein", 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_delong_single_areas(
    ovarian: dict[str, influences.Influence], test: str, area: float, error: float, low: float, high: float
) -> None:
    found = ovarian[test]
    interval = wald(found.value, found.standard_error(np.arange(43)), 0.95)
    assert found.value == pytest.approx(area, abs=5e-5)
    assert found.standard_error(np.arange(43)) == pytest.approx(error, abs=5e-5)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("test", "difference", "error", "chi_square", "p"),
    [("albumin", 0.0108, 0.0953, 0.0127, 0.9102), ("protein", -0.0780, 0.1046, 0.5554, 0.4561)],
)
def test_delong_paired_differences(
    ovarian: dict[str, influences.Influence], test: str, difference: float, error: float, chi_square: float, p: float
) -> None:
    gap = ovarian[test] - ovarian["kg"]
    z = gap.value / gap.standard_error(np.arange(43))
    assert gap.value == pytest.approx(difference, abs=5e-5)
    assert gap.standard_error(np.arange(43)) == pytest.approx(error, abs=5e-5)
    assert z**2 == pytest.approx(chi_square, abs=5e-5)
    assert p_value(z) == pytest.approx(p, abs=5e-5)


def test_delong_covariances_give_the_published_global_test(ovarian: dict[str, influences.Influence]) -> None:
    gaps = [ovarian[test] - ovarian["kg"] for test in ("albumin", "protein")]
    covariance = np.array([[float(a.rows @ b.rows) for a in gaps] for b in gaps])
    values = np.array([gap.value for gap in gaps])
    assert values @ np.linalg.solve(covariance, values) == pytest.approx(2.5340, abs=5e-5)


def binormal(n_positive: int, n_negative: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    truth = np.arange(n_positive + n_negative) < n_positive
    return np.round(np.random.default_rng(seed).normal(size=len(truth)) + 1.2 * truth, 1), truth


def test_stratified_bootstrap_is_the_brute_force_one() -> None:
    """Same draws, resampled row by row and given to scikit-learn."""
    scores, truth = binormal(12, 30)
    how = Resampling(200, seed=3)
    units = np.arange(len(truth))
    aurocs, precisions = resampled_ranks(Ranking.of(scores, truth), units, how)
    (counts,) = stratified_draws(truth, units, how)
    for place in range(how.n_resamples):
        rows = np.repeat(units, counts[place])
        assert truth[rows].sum() == 12
        assert aurocs[place] == pytest.approx(sk.roc_auc_score(truth[rows], scores[rows]), abs=1e-12)
        assert precisions[place] == pytest.approx(sk.average_precision_score(truth[rows], scores[rows]), abs=1e-12)


def test_bootstrap_interval_agrees_with_an_independent_loop() -> None:
    scores, truth = binormal(40, 120)
    ours = rank_scores(scores, truth, np.arange(160), Intervals(resampling=Resampling(4000, 1))).auroc_bootstrap
    rng = np.random.default_rng(99)
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    theirs = []
    for _ in range(4000):
        rows = np.concatenate([rng.choice(positives, 40), rng.choice(negatives, 120)])
        pairs = scores[rows[:40], None] - scores[rows[40:]]
        theirs.append(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    # Monte Carlo error of a 2.5% quantile of 4,000 draws is about 0.0013 here.
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(theirs, [0.025, 0.975])), abs=0.005)


@pytest.mark.parametrize("clustered", [False, True])
def test_analytic_standard_errors_agree_with_the_bootstrap(clustered: bool) -> None:
    rng = np.random.default_rng(5)
    n_units, rows_per_unit = (150, 4) if clustered else (600, 1)
    units = np.repeat(np.arange(n_units), rows_per_unit)
    truth = np.repeat(rng.random(n_units) < 0.4, rows_per_unit)
    scores = np.repeat(rng.normal(size=n_units), rows_per_unit) + 0.5 * rng.normal(size=len(units)) + truth
    ranking = Ranking.of(scores, truth)
    aurocs, precisions = resampled_ranks(ranking, units, Resampling(2000, 2))
    decisions = scores > 0.8
    table = outcome_table(decisions, truth.astype(float), np.ones(len(units), bool), units, n_units)
    confusions = resampled_confusions(table[None], Resampling(2000, 2))
    pairs = {
        "auroc": (influences.auroc_influence(ranking, units), aurocs),
        "average_precision": (influences.average_precision_influence(ranking, units), precisions),
        "mcc": (influences.mcc_influence(decisions, truth), confusions.mcc),
        "f1": (influences.f1_influence(decisions, truth), confusions.f1),
        "sensitivity": (influences.share_influence(decisions, truth), confusions.sensitivity),
    }
    for name, (analytic, draws) in pairs.items():
        assert analytic.standard_error(units) == pytest.approx(float(np.std(draws)), rel=0.1), name


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**20))
@settings(max_examples=60)
def test_intervals_hold_their_point(n_positive: int, n_negative: int, seed: int) -> None:
    scores, truth = binormal(n_positive, n_negative, seed)
    found = rank_scores(scores, truth, np.arange(len(truth)), Intervals(resampling=Resampling(0)))
    for each in (found.auroc, found.average_precision):
        assert 0 <= each.low <= each.value <= each.high <= 1
        assert each.low < each.high


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 2**20))
@settings(max_examples=60)
def test_influences_sum_to_zero_in_each_class(n_positive: int, n_negative: int, seed: int) -> None:
    scores, truth = binormal(n_positive, n_negative, seed)
    units = np.arange(len(truth))
    for found in (influences.auroc_influence, influences.average_precision_influence):
        rows = found(Ranking.of(scores, truth), units).rows
        assert rows[truth].sum() == pytest.approx(0, abs=1e-12)
        assert rows[~truth].sum() == pytest.approx(0, abs=1e-12)


def test_separated_classes_still_have_an_interval() -> None:
    truth = np.arange(40) < 5
    found = rank_scores(truth.astype(float), truth, np.arange(40), Intervals(resampling=Resampling(100)))
    assert found.auroc.value == 1
    assert found.auroc.method == "newcombe"
    assert 0.4 < found.auroc.low < 0.95
    assert found.auroc_bootstrap.method == "none"  # resamples that never vary are no evidence


def test_copies_of_patients_add_no_certainty() -> None:
    scores, truth = binormal(60, 140)
    once = auroc_estimate(
        influences.auroc_influence(Ranking.of(scores, truth), np.arange(200)), truth, np.arange(200), 0.95
    )
    scores, truth, units = np.tile(scores, 5), np.tile(truth, 5), np.tile(np.arange(200), 5)
    copied = auroc_estimate(influences.auroc_influence(Ranking.of(scores, truth), units), truth, units, 0.95)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_newcombe_ends_solve_its_equation() -> None:
    found = newcombe(0.8, 20, 60, 0.95)
    for theta in (found.low, found.high):
        bracket = 1 + 39 * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * bracket / 1200
        assert abs(theta - 0.8) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_wilson_published_example() -> None:
    """Newcombe, Statistics in Medicine 1998; 17:857-872, table I: 81/263, 15/148, 0/20, 1/29 by the score method."""
    for hits, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(hits, n, 0.95)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_effective_size_of_copied_rows_is_the_number_of_units() -> None:
    hits = np.array([0.0, 1.0] * 20)
    assert effective_size(hits, np.ones(40)) == pytest.approx(39, abs=1)
    assert effective_size(hits * 5, np.full(40, 5.0)) == pytest.approx(39, abs=1)
    assert effective_size(np.full(8, 3.0), np.full(8, 3.0)) == 8


def test_predictive_value_interval_holds_its_point_and_narrows() -> None:
    wide = predictive_value(0.05, 9, 10, 80, 90, 0.95)
    narrow = predictive_value(0.05, 900, 1000, 8000, 9000, 0.95)
    assert wide.value == pytest.approx(0.05 * 0.9 / (0.05 * 0.9 + 0.95 / 9))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    perfect = predictive_value(0.05, 10, 10, 90, 90, 0.95)
    assert perfect.value == perfect.high == 1
    assert perfect.low < 0.9


def test_logit_interval_stays_inside() -> None:
    found = logit_wald(0.99, 0.02, 0.95, "x")
    assert 0.5 < found.low < 0.99 < found.high < 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_undefined_resamples_are_left_out_and_counted() -> None:
    found = percentile(0.5, np.array([0.4, np.nan, 0.6, 0.5]), 0.95)
    assert found.n_resamples == 3


def test_draws_are_samples_with_replacement() -> None:
    counts = draw_counts(np.random.default_rng(0), 50, 400)
    assert counts.shape == (400, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1
    assert np.mean(counts == 0) == pytest.approx(1 / math.e, abs=0.02)
