"""Thresholds, calibrators and the calibration file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrzero.calibration.file import (
    Calibration,
    LabelCalibration,
    binding,
    check_binding,
    read_calibration,
    write_calibration,
)
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.stats.calibrators import Isotonic, LogitLine, fit_calibrator, logit
from cxrzero.stats.metrics import Confusion, brier
from cxrzero.stats.thresholds import Threshold, choose_threshold, parse_rule
from tests.support.needs import optional

isotonic = optional("sklearn.isotonic")
linear_model = optional("sklearn.linear_model")
sk = optional("sklearn.metrics")

MANIFEST = {
    "models": [{"name": "mini", "fingerprint": "abc", "files": {"image_encoder.onnx": "1"}}],
    "preprocess": [{"step": "resize"}],
    "precision": "fp32",
    "scoring": {"rule": "softmax_pair", "scale": 1.0, "bias": 0.0},
    "prompts": [{"label": "Edema", "positive": ["edema"], "negative": ["no edema"]}],
    "device": "cpu",
}


def sample(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.25
    return 1 / (1 + np.exp(-0.3 * (rng.normal(size=n) + 1.5 * truth))), truth


@pytest.mark.parametrize("seed", range(3))
def test_max_mcc_is_the_best_of_all_thresholds(seed: int) -> None:
    scores, truth = sample(seed, 120)
    chosen = choose_threshold(scores, truth, "max_mcc", None, "validation")
    assert chosen is not None
    best = max(sk.matthews_corrcoef(truth, scores >= cut) for cut in scores)
    assert chosen.achieved == pytest.approx(best, abs=1e-12)
    assert sk.matthews_corrcoef(truth, scores >= chosen.value) == pytest.approx(best, abs=1e-12)


def test_youden_and_target_sensitivity() -> None:
    scores, truth = sample(1)
    youden = choose_threshold(scores, truth, "youden", None, "validation")
    assert youden is not None
    best = max(float(t.sensitivity + t.specificity - 1) for t in (Confusion.of(scores >= c, truth) for c in scores))
    assert youden.achieved == pytest.approx(best)
    target = choose_threshold(scores, truth, "sensitivity", 0.9, "validation")
    assert target is not None
    assert float(Confusion.of(scores >= target.value, truth).sensitivity) >= 0.9
    stricter = scores[scores >= target.value].min()
    assert float(Confusion.of(scores > stricter, truth).sensitivity) < 0.9 or not truth[scores == stricter].any()


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=60)
def test_a_chosen_threshold_gives_what_it_says(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    chosen = choose_threshold(scores, truth, "max_mcc", None, "validation")
    if chosen is None:
        assert truth.all() or not truth.any()
    else:
        assert float(Confusion.of(scores >= chosen.value, truth).mcc) == chosen.achieved


def test_rules_are_parsed_or_refused() -> None:
    assert parse_rule("max-mcc") == ("max_mcc", None)
    assert parse_rule("sensitivity=0.95") == ("sensitivity", 0.95)
    for wrong in ("mcc", "sensitivity", "sensitivity=2", "youden=1"):
        with pytest.raises(ConfigError, match="threshold rule"):
            parse_rule(wrong)


def test_platt_is_logistic_regression_on_the_logit() -> None:
    scores, truth = sample(2, 3000)
    ours = fit_calibrator(scores, truth, "platt")
    assert isinstance(ours, LogitLine)
    theirs = linear_model.LogisticRegression(C=1e9, tol=1e-10).fit(logit(scores)[:, None], truth)
    # Platt's smoothed targets move the slope by about one case in N.
    assert ours.slope == pytest.approx(float(theirs.coef_[0, 0]), rel=0.02)
    assert ours.intercept == pytest.approx(float(theirs.intercept_[0]), rel=0.02)


def test_isotonic_is_scikit_learn_s() -> None:
    scores, truth = sample(3, 200)
    scores = np.round(scores, 2)
    ours = fit_calibrator(scores, truth, "isotonic")
    assert ours is not None
    theirs = isotonic.IsotonicRegression().fit(scores, truth.astype(float))
    np.testing.assert_allclose(ours(scores), theirs.predict(scores), atol=1e-12)


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
def test_calibrators_rise_and_survive_json(method: str) -> None:
    scores, truth = sample(4)
    calibrator = fit_calibrator(scores, truth, method)  # type: ignore[arg-type]
    assert calibrator is not None
    grid = np.linspace(0, 1, 101)
    assert (np.diff(calibrator(grid)) >= 0).all()
    assert 0 <= calibrator(grid).min() <= calibrator(grid).max() <= 1
    assert brier(calibrator(scores), truth) <= brier(scores, truth)
    assert json.loads(json.dumps(calibrator.as_dict()))["method"] == method


def test_separable_scores_give_a_finite_slope() -> None:
    truth = np.arange(40) < 10
    calibrator = fit_calibrator(np.where(truth, 0.9, 0.1), truth, "platt")
    assert isinstance(calibrator, LogitLine)
    assert 0 < calibrator.slope < 10
    assert fit_calibrator(np.where(truth, 0.9, 0.1), truth, "temperature") is not None
    assert fit_calibrator(np.where(truth, 1.0, 0.0), truth, "platt") is not None


def test_reversed_or_one_sided_scores_are_not_calibrated() -> None:
    scores, truth = sample(5)
    assert fit_calibrator(1 - scores, truth, "platt") is None
    assert fit_calibrator(scores, np.ones_like(truth), "isotonic") is None


def fitted() -> Calibration:
    labels = {
        "Edema": LabelCalibration(
            Threshold(0.51, "max_mcc", "validation", 10, 90, 0.4), LogitLine("platt", 2.0, -1.0), 10, 90
        ),
        "Mass": LabelCalibration(
            Threshold(0.5, "max_mcc", "validation", 5, 95, 0.1), Isotonic((0.1, 0.9), (0.0, 1.0)), 5, 95
        ),
        "Hernia": LabelCalibration(None, None, 0, 100),
    }
    return Calibration(labels, binding(MANIFEST))


def test_the_file_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibration(path, fitted())
    assert read_calibration(path) == fitted()


def test_binding_accepts_the_same_model_and_names_what_differs() -> None:
    calibration = fitted()
    check_binding(calibration, {**MANIFEST, "device": "cuda"})
    changes = {
        "models": [{"name": "mini", "fingerprint": "other"}],
        "preprocess": [],
        "precision": "fp16",
        "scoring": {"rule": "softmax_pair", "scale": 2.0, "bias": 0.0},
    }
    for key, value in changes.items():
        with pytest.raises(ConfigError, match=f"another {key}"):
            check_binding(calibration, {**MANIFEST, key: value})
    prompts = [{"label": "Edema", "positive": ["oedema"], "negative": ["no edema"]}]
    with pytest.raises(ConfigError, match="other prompts of the label 'Edema'"):
        check_binding(calibration, {**MANIFEST, "prompts": prompts})


def test_a_foreign_table_gives_an_unbound_file() -> None:
    with pytest.raises(ConfigError, match="unbound"):
        check_binding(Calibration({}, None), MANIFEST)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "not readable as JSON"),
        ('{"schema": "x"}', "not a calibration file"),
        ('{"schema": "cxrzero.calibration", "schema_version": 99}', "schema version 99"),
        ('{"schema": "cxrzero.calibration", "schema_version": 1}', "incomplete"),
        (
            '{"schema": "cxrzero.calibration", "schema_version": 1, "binding": null, "in_sample": false, "labels": '
            '{"a": {"threshold": null, "calibrator": {"method": "magic"}, "n_positive": 1, "n_negative": 1}}}',
            "unknown method",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_calibration(path)


def test_a_missing_file_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        read_calibration(tmp_path / "none.json")
