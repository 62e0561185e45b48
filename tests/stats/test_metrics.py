"""Metrics against scikit-learn, and properties that hold for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrzero.stats.metrics import (
    Confusion,
    Ranking,
    auroc,
    auroc_from_tallies,
    average_precision,
    average_precision_from_tallies,
    brier,
    expected_calibration_error,
    npv_at,
    ppv_at,
    reliability,
)
from tests.support.needs import optional

sk = optional("sklearn.metrics")

EXACT = 1e-12


def sample(seed: int, n: int = 300, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rng.uniform(0.05, 0.6)
    truth[:2] = True, False
    scores = 1 / (1 + np.exp(-rng.normal(size=n) - truth))
    return (np.round(scores * levels) / levels if levels else scores), truth


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Few distinct scores, so that ties are the rule; always both classes."""
    rows = draw(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60))
    rows += [(draw(st.integers(0, 12)), True), (draw(st.integers(0, 12)), False)]
    return np.array([row[0] for row in rows]) / 12, np.array([row[1] for row in rows])


@pytest.mark.parametrize("levels", [None, 1000, 20, 3])
@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_agree_with_scikit_learn(seed: int, levels: int | None) -> None:
    scores, truth = sample(seed, levels=levels)
    assert auroc(scores, truth) == pytest.approx(sk.roc_auc_score(truth, scores), abs=EXACT)
    assert average_precision(scores, truth) == pytest.approx(sk.average_precision_score(truth, scores), abs=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_agree_with_scikit_learn(seed: int) -> None:
    scores, truth = sample(seed, levels=30)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(scores)))
    tallies = Ranking.of(scores, truth).tallies(weights)
    for row, one, two in zip(
        weights, auroc_from_tallies(*tallies), average_precision_from_tallies(*tallies), strict=True
    ):
        assert one == pytest.approx(sk.roc_auc_score(truth, scores, sample_weight=row), abs=EXACT)
        assert two == pytest.approx(sk.average_precision_score(truth, scores, sample_weight=row), abs=EXACT)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.7, 0.95])
def test_threshold_metrics_agree_with_scikit_learn(cut: float) -> None:
    scores, truth = sample(3, levels=40)
    decisions = scores >= cut
    table = Confusion.of(decisions, truth)
    expected = {
        "mcc": sk.matthews_corrcoef(truth, decisions),
        "f1": sk.f1_score(truth, decisions, zero_division=0.0),
        "sensitivity": sk.recall_score(truth, decisions),
        "specificity": sk.recall_score(~truth, ~decisions),
        "ppv": sk.precision_score(truth, decisions, zero_division=np.nan),
        "npv": sk.precision_score(~truth, ~decisions, zero_division=np.nan),
    }
    for name, value in expected.items():
        assert float(getattr(table, name)) == pytest.approx(value, abs=EXACT, nan_ok=True), name


def test_brier_agrees_with_scikit_learn() -> None:
    scores, truth = sample(4)
    assert brier(scores, truth) == pytest.approx(sk.brier_score_loss(truth, scores), abs=EXACT)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([0.0, 0.05, 0.5, 0.95, 1.0])
    truth = np.array([False, True, True, True, True])
    bins = reliability(probabilities, truth, n_bins=10)
    assert [(b.n, b.observed) for b in bins] == [(2, 0.5), (1, 1.0), (2, 1.0)]
    by_hand = (2 * abs(0.5 - 0.025) + abs(1 - 0.5) + 2 * abs(1 - 0.975)) / 5
    assert expected_calibration_error(probabilities, truth, n_bins=10) == pytest.approx(by_hand, abs=EXACT)


def test_probabilities_that_are_frequencies_have_no_calibration_error() -> None:
    probabilities = np.repeat([0.25, 0.75], 400)
    truth = np.tile(np.arange(400) < 100, 2) ^ (probabilities > 0.5)
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.0, abs=EXACT)


def test_empty_tables_follow_the_stated_conventions() -> None:
    no_calls = Confusion.of(np.zeros(4, bool), np.array([True, False, False, False]))
    assert float(no_calls.mcc) == 0.0
    assert float(no_calls.f1) == 0.0
    assert np.isnan(no_calls.ppv)
    only_negatives = Confusion.of(np.zeros(4, bool), np.zeros(4, bool))
    assert float(only_negatives.f1) == 0.0
    assert np.isnan(only_negatives.sensitivity)


def test_predictive_values_at_the_sample_prevalence_are_the_plain_ones() -> None:
    scores, truth = sample(6)
    table = Confusion.of(scores >= 0.6, truth)
    prevalence, sensitivity, specificity = truth.mean(), float(table.sensitivity), float(table.specificity)
    assert ppv_at(prevalence, sensitivity, specificity) == pytest.approx(float(table.ppv), abs=EXACT)
    assert npv_at(prevalence, sensitivity, specificity) == pytest.approx(float(table.npv), abs=EXACT)


@given(scored())
def test_auroc_is_the_share_of_pairs_in_order(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = data
    pairs = scores[truth][:, None] - scores[~truth]
    assert auroc(scores, truth) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)), abs=EXACT)


@given(scored(), st.floats(0.1, 5), st.floats(-3, 3))
def test_rising_transforms_change_no_ranking_metric(
    data: tuple[np.ndarray, np.ndarray], slope: float, shift: float
) -> None:
    scores, truth = data
    moved = np.exp(slope * scores + shift)
    assert auroc(moved, truth) == auroc(scores, truth)
    assert average_precision(moved, truth) == average_precision(scores, truth)


@given(scored())
def test_flipped_labels_give_one_minus_auroc(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = data
    assert auroc(scores, ~truth) == pytest.approx(1 - auroc(scores, truth), abs=EXACT)
    assert auroc(-scores, truth) == pytest.approx(1 - auroc(scores, truth), abs=EXACT)


@given(scored(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_rows_does_not_matter(data: tuple[np.ndarray, np.ndarray], random: object) -> None:
    scores, truth = data
    order = np.random.default_rng(random.randint(0, 2**31)).permutation(len(scores))  # type: ignore[attr-defined]
    assert auroc(scores[order], truth[order]) == auroc(scores, truth)
    assert average_precision(scores[order], truth[order]) == pytest.approx(average_precision(scores, truth), abs=EXACT)


@given(scored())
def test_flipping_decisions_and_labels_exchanges_the_metrics(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = data
    table, other = Confusion.of(scores >= 0.5, truth), Confusion.of(scores < 0.5, ~truth)
    assert float(other.mcc) == pytest.approx(float(table.mcc), abs=EXACT)
    assert float(other.sensitivity) == float(table.specificity)
    assert float(Confusion.of(scores < 0.5, truth).mcc) == pytest.approx(-float(table.mcc), abs=EXACT)


def test_one_class_has_no_auroc() -> None:
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))
    assert np.isnan(average_precision(np.array([0.1, 0.2]), np.array([False, False])))
