"""Faster precisions made at import: files that run, deviations that are measured, nothing left of what failed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.backends.open import check_bf16  # noqa: E402
from cxrzero.backends.precision import MAX_DEVIATION, admissible  # noqa: E402
from cxrzero.backends.processor import instruction_sets  # noqa: E402
from cxrzero.cli import app  # noqa: E402
from cxrzero.convert import variants  # noqa: E402
from cxrzero.convert.variants import add_unmeasured, measure  # noqa: E402
from cxrzero.errors import ConfigError, UsageError  # noqa: E402
from cxrzero.files import sha256_of  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.model.model_json import Variant  # noqa: E402
from cxrzero.registry.verify import verify  # noqa: E402
from tests.support.bundle import write_bundle  # noqa: E402
from tests.support.checkpoints import clip, save  # noqa: E402
from tests.support.chexzero import LABELS, RELEASED  # noqa: E402


@pytest.fixture(autouse=True)
def few_films(monkeypatch):
    monkeypatch.setattr(variants, "CALIBRATION_FILMS", 4)
    monkeypatch.setattr(variants, "TEST_FILMS", 12)
    monkeypatch.setattr(variants, "FILM_SIDE", 96)


def run(*arguments):
    return CliRunner().invoke(app, ["models", "import", *map(str, arguments)])


def test_variants_run_and_state_how_far_they_are(tmp_path, films):
    source = save(clip(image_size=64), tmp_path / RELEASED)
    asked = ["fp16", *(["bf16"] if computes_bf16() else []), " int8"]
    done = run(source, "--out", tmp_path / "bundle", "--variants", ",".join(asked))
    assert done.exit_code == 0, done.output
    bundle = load_bundle(tmp_path / "bundle")
    assert {name: variant.image_encoder for name, variant in bundle.variants.items()} == {
        name.strip(): None if name == "bf16" else f"image_encoder.{name.strip()}.onnx" for name in asked
    }
    checks = {check.name: check for check in verify(bundle) if check.name != "registry"}  # these are not CheXzero's
    assert all(check.ok for check in checks.values())
    assert {"image encoder, fp16", "image encoder, int8"} < set(checks)

    exact = scores(tmp_path / "bundle", films, "fp32")
    for precision, variant in bundle.variants.items():
        stated = variant.deviation
        assert stated is not None
        assert stated.n == 12
        assert stated.measured_on.backend.split()[0] == ("openvino" if precision == "bf16" else "onnxruntime")
        assert stated.measured_on.processor == instruction_sets()
        assert stated.max_abs_d_over_sd > 0
        assert f"{precision}: max |Δd| {stated.max_abs_d_over_sd:.2%}" in done.output
        # What is stated holds for films that it was not measured on, within what a few films can tell.
        seen = np.abs(scores(tmp_path / "bundle", films, precision) - exact).max(axis=0) / exact.std(axis=0)
        assert 0 < seen.max() < 5 * stated.max_abs_d_over_sd
    assert bundle.variants["fp16"].deviation.max_abs_d_over_sd < MAX_DEVIATION
    # Weights in 8 bits differ more than those in 16.
    assert bundle.variants["int8"].deviation.max_abs_d_over_sd > bundle.variants["fp16"].deviation.max_abs_d_over_sd
    assert len({bundle.fingerprint_at(name) for name in ("fp32", "fp16", "int8")}) == 3


def test_a_calibration_stays_in_the_bundle_and_is_for_fp32(tmp_path):
    folder = write_bundle(tmp_path / "bundle")
    (folder / "calibration.json").write_text("{}", encoding="utf-8")
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    card["files"]["calibration.json"] = {"sha256": sha256_of(folder / "calibration.json"), "size": 2}
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    before = load_bundle(folder)
    add_unmeasured(folder, "fp16")
    after = load_bundle(folder)
    assert after.files["calibration.json"] == before.files["calibration.json"]
    assert after.fingerprint == before.fingerprint != after.fingerprint_at("fp16")


def test_a_variant_that_nobody_measured_runs_and_is_not_what_auto_takes(tmp_path, films):
    source = save(clip(image_size=64), tmp_path / RELEASED)
    assert run(source, "--out", tmp_path / "bundle").exit_code == 0
    add_unmeasured(tmp_path / "bundle", "fp16")
    bundle = load_bundle(tmp_path / "bundle")
    assert dict(bundle.variants) == {"fp16": Variant("image_encoder.fp16.onnx", None)}
    assert admissible(["fp16"], "cuda", bundle) == []
    exact, half = (scores(tmp_path / "bundle", films, precision) for precision in ("fp32", "fp16"))
    assert 0 < (np.abs(half - exact).max(axis=0) / exact.std(axis=0)).max() < 5 * MAX_DEVIATION
    with pytest.raises(UsageError, match="variant 'int4' is unknown"):
        add_unmeasured(tmp_path / "bundle", "int4")


def computes_bf16():
    try:
        check_bf16()
    except ConfigError:
        return False
    return True


def test_what_this_processor_does_not_compute_is_not_stated(tmp_path, monkeypatch):
    for module in ("openvino", "torch.encoder"):
        monkeypatch.setattr(f"cxrzero.backends.{module}.obstacle", lambda precision: "it is too old")
    source = save(clip(image_size=64), tmp_path / RELEASED)
    done = run(source, "--out", tmp_path / "bundle", "--variants", "bf16,int8")
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "bf16 cannot be measured here (openvino: it is too old; torch: it is too old); leave it out of" in said
    assert [path.name for path in tmp_path.iterdir()] == [RELEASED]


def scores(folder, films, precision):
    rows = Screener(folder, device="cpu", precision=precision, cache=False).predict(films, LABELS)
    return np.array([[row.cos_pos[label] - row.cos_neg[label] for label in LABELS] for row in rows], float)


@pytest.mark.parametrize("wrong", ["int4", "fp16,,int8", "fp32"])
def test_an_unknown_variant_is_refused_before_anything_is_made(tmp_path, wrong):
    source = save(clip(image_size=64), tmp_path / RELEASED)
    done = run(source, "--out", tmp_path / "bundle", "--variants", wrong)
    assert done.exit_code == 2
    assert "choose from bf16, fp16, int8" in done.output
    assert not (tmp_path / "bundle").exists()


def test_a_variant_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(variants, "quant_pre_process", broken)
    source = save(clip(image_size=64), tmp_path / RELEASED)
    done = run(source, "--out", tmp_path / "bundle", "--variants", "int8")
    assert done.exit_code == 1
    assert "cannot be prepared for another precision: no such operator" in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == [RELEASED]


def test_the_measure():
    exact = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    other = exact + np.array([[0.0, 0.1], [0.0, 0.0], [0.0, 0.0], [0.3, 0.0]])
    found = measure(exact, other, "int8")
    assert found.max_abs_d_over_sd == pytest.approx(0.3 / exact[:, 0].std(), abs=1e-4)
    assert (found.spearman, found.n) == (1.0, 4)
    assert measure(exact, -exact, "int8").spearman == -1.0
    assert "int8" in json.dumps(found.command)
