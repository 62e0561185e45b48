"""--precision auto: measured once, said, recorded, and the run is that of the precision named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from cxrzero.clip.architecture import build_model, load_arch  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, resume, train  # noqa: E402
from cxrzero.train.data.pixels import EncoderInput  # noqa: E402
from cxrzero.train.distributed import World  # noqa: E402
from cxrzero.train.runfolder import RunFolder  # noqa: E402
from cxrzero.train.step import precision  # noqa: E402
from cxrzero.train.step.precision import choose_precision, measure  # noqa: E402
from tests.support.pairs import draw  # noqa: E402
from tests.train.test_resume import Stop, losses, stop_after  # noqa: E402
from tests.train.test_step import CPU, STEPS, whole_batch  # noqa: E402


@pytest.fixture
def options(tmp_path):
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(
        pairs, tmp_path / "run", arch="cxrzero-tiny", epochs=2, batch_size=8, threads=1, device="cpu", precision="auto"
    )


def tiny():
    """A model, and a batch that it can read."""
    batch = whole_batch()
    return build_model(load_arch("cxrzero-tiny")), replace(batch, ids=batch.ids[:, :32] % 400)


@pytest.mark.parametrize(("bf16", "chosen"), [(10.9, "fp32"), (11.1, "bf16"), (40.0, "bf16"), (0.5, "fp32")])
def test_bf16_is_taken_if_it_is_a_tenth_faster_in_the_first_process(tmp_path, monkeypatch, bf16, chosen):
    def first_of_all(_, mine):
        assert mine.keys() == {"fp32", "bf16"}
        return {"fp32": 10.0, "bf16": bf16}

    monkeypatch.setattr(World, "from_main", first_of_all)
    model, batch = tiny()
    options = TrainOptions(tmp_path, tmp_path, precision="auto")
    found, told = choose_precision(model, batch, EncoderInput(STEPS), World(0, 1, CPU), options)
    assert found == chosen
    assert told == f"Training computes in {chosen}, by measurement on cpu: fp32 10 images/s, bf16 {bf16:.3g} images/s"


def test_measuring_leaves_weights_statistics_gradients_and_random_state_alone(tmp_path):
    model, batch = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    rates = measure(model, batch, EncoderInput(STEPS), World(0, 1, CPU), TrainOptions(tmp_path, tmp_path))
    assert min(rates.values()) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


@pytest.mark.parametrize(("faster", "chosen"), [(0.0, "bf16"), (float("inf"), "fp32")])
def test_the_run_is_that_of_the_precision_named(options, tmp_path, monkeypatch, faster, chosen):
    monkeypatch.setattr(precision, "FASTER", faster)
    seen: list[Any] = []
    run = train(options, seen.append)
    said = [each.message for each in seen if each.stage == "note" and "by measurement" in each.message]
    assert len(said) == 1
    assert re.fullmatch(rf"Training computes in {chosen}, .*: fp32 \S+ images/s, bf16 \S+ images/s", said[0])
    assert RunFolder(run).description()["precision"] == chosen
    assert RunFolder(run).description()["config"]["precision"] == "auto"
    provenance = load_bundle(run).card["provenance"]
    assert provenance["recipe"]["precision"] == chosen
    assert "--precision auto" in provenance["command"]
    named = train(replace(options, out=tmp_path / "named", precision=chosen))
    assert losses(run) == losses(named)
    assert load_bundle(run).files == load_bundle(named).files


def test_a_resumed_run_keeps_the_choice_without_measuring(options, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "FASTER", 0.0)
    with pytest.raises(Stop):
        train(options, stop_after(3))
    monkeypatch.setattr(precision, "measure", None)  # a call would fail
    with pytest.raises(UsageError, match=r"precision is 'fp32' but the run .* was started with 'auto'"):
        resume(options.out, {"precision": "fp32"})
    run = resume(options.out)
    assert load_bundle(run).card["provenance"]["recipe"]["precision"] == "bf16"
    assert losses(run) == losses(train(replace(options, out=tmp_path / "named", precision="bf16")))
