"""What makes a run on a GPU the same each time, as far as it can be seen without one; test_gpu.py has the rest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cxrzero.backends.torch.exactly import exactly  # noqa: E402
from cxrzero.errors import TrainingError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, loop, resume, train  # noqa: E402
from cxrzero.train.distributed import World  # noqa: E402
from cxrzero.train.step import backward as step_module  # noqa: E402
from cxrzero.train.step import precision as precision_module  # noqa: E402
from cxrzero.train.step.repeatable import in_any_order, repeatable  # noqa: E402
from tests.support.pairs import draw  # noqa: E402
from tests.train.test_resume import Stop, losses, stop_after  # noqa: E402

REFUSAL = "max_pool2d_with_indices_backward_cuda does not have a deterministic implementation, but you set …"


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(pairs, tmp_path / "run", arch="cxrzero-tiny", epochs=2, batch_size=8, threads=1, device="cpu")


def settings() -> dict[str, object]:
    cudnn = torch.backends.cudnn
    return {
        "ordered": torch.are_deterministic_algorithms_enabled(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "cudnn": (cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32),
        "products": torch.get_float32_matmul_precision(),
    }


def test_on_a_gpu_sums_have_one_order_and_cudnn_computes_without_tensorfloat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = settings()
    with repeatable(torch.device("cuda")):
        assert settings() == {
            "ordered": True,
            "filled": False,
            "cudnn": (True, True, False, False),
            "products": "highest",
        }
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings() == before
    with repeatable(torch.device("cpu")):
        assert settings() == before


def test_an_encoder_computes_without_cudnn() -> None:
    with exactly():
        assert not torch.backends.cudnn.enabled


def test_what_torch_refuses_is_said_and_done_all_the_same() -> None:
    said: list[str] = []

    def put() -> Any:  # torch knows no fixed order for it on any device
        return torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))

    with repeatable(torch.device("cuda")):
        assert in_any_order(put, said.append).tolist() == [0, 1, 0]
        assert in_any_order(put, said.append).tolist() == [0, 1, 0]
    assert said == ["This run cannot be repeated bit for bit: put_ adds in no fixed order on a GPU"]
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_error_is_no_refusal() -> None:
    with pytest.raises(RuntimeError, match="sizes differ"):
        in_any_order(lambda: _raise(RuntimeError("sizes differ")), _never)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_refused_step_is_taken_again_from_where_it_began(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    """Running statistics and random numbers, too: the run is that of a processor that refuses nothing."""
    monkeypatch.setattr(precision_module, "FASTER", float("inf"))
    whole = train(replace(options, out=tmp_path / "whole"))
    calls, said = [0], []

    def refusing(*given: Any) -> Any:
        calls[0] += 1
        loss = real(*given)
        return _raise(RuntimeError(REFUSAL)) if calls[0] == 1 else loss

    module = loop if precision == "fp32" else precision_module
    real = step_module.backward
    monkeypatch.setattr(module, "backward", refusing)
    run = train(replace(options, precision=precision), lambda progress: said.append(progress.message))
    assert losses(run) == losses(whole)
    assert load_bundle(run).files == load_bundle(whole).files
    wanted = "This run cannot be repeated bit for bit: max_pool2d_with_indices_backward_cuda adds in no fixed order"
    assert sum((message or "").startswith(wanted) for message in said) == 1


def test_full_memory_is_an_error_that_says_how_to_go_on(options: TrainOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    real, too_large = step_module.backward, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    def refusing(encoders: Any, batch: Any, world: World, micro_batch: int | None, loss: Any) -> Any:
        return real(encoders, batch, world, micro_batch, loss) if micro_batch == 4 else _raise(too_large)

    monkeypatch.setattr(loop, "backward", refusing)
    advice = f"8 images in one pass .* memory of cpu; continue with --resume {options.out} --micro-batch 4: the same"
    with pytest.raises(TrainingError, match=advice):
        train(options)
    assert len(losses(resume(options.out, {"micro_batch": 4}))) == 4


def test_full_memory_before_the_run_began_asks_for_smaller_parts(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(precision_module, "backward", lambda *given: _raise(error))
    with pytest.raises(TrainingError, match=r"4 images in one pass .*; give --micro-batch 2, which computes the same"):
        train(replace(options, precision="auto", micro_batch=4))


def test_the_card_is_recorded(options: TrainOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    assert World(0, 1, torch.device("cuda", 1)).gpu == "card 1"
    assert World(0, 1, torch.device("cpu")).gpu is None
    with pytest.raises(Stop):
        train(options, stop_after(1))
    assert '"gpu": null' in (options.out / "run.json").read_text("utf-8")


def _raise(error: Exception) -> Any:
    raise error


def _never(message: str) -> None:
    raise AssertionError(message)
