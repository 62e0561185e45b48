"""A training on a GPU: the losses of the processor's, and the same bits each time; skipped where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero.clip.architecture import load_arch  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.screener import Screener  # noqa: E402
from cxrzero.train import TrainOptions, resume, train  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.runfolder import RunFolder  # noqa: E402
from tests.support.pairs import draw, tiny_clip  # noqa: E402
from tests.train.test_resume import Stop, losses, stop_after  # noqa: E402


@pytest.fixture
def gpu() -> str:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    return "cuda"


@pytest.fixture
def options(gpu: str, tmp_path: Path) -> TrainOptions:
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(pairs, tmp_path / "run", arch="cxrzero-tiny", epochs=3, batch_size=8, device="cuda", seed=7)


def numbers(run: Path) -> list[Any]:
    """What was measured, but for what depends on the clock."""
    records = metricslog.read(run)
    return [{name: value for name, value in each.items() if name != "images_per_second"} for each in records]


def assert_same(run: Path, other: Path) -> None:
    assert numbers(run) == numbers(other)
    for name in load_bundle(run).files:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("loss", ["soft", "sigmoid", "clip"])
def test_losses_are_those_of_the_processor(options: TrainOptions, tmp_path: Path, loss: Any, micro_batch: int) -> None:
    """Not augmented: the two draw other random numbers."""
    options = replace(
        options, arch=tiny_clip(tmp_path), loss=loss, texts_per_image=1, augment=False, micro_batch=micro_batch
    )
    run = train(options)
    on_cpu = train(replace(options, out=tmp_path / "cpu", device="cpu", micro_batch=None))
    found, expected = (np.array(losses(each)) for each in (run, on_cpu))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", ["cxrzero-tiny", "clip"])
def test_a_run_repeats_itself_bit_for_bit(options: TrainOptions, tmp_path: Path, arch: str, precision: Any) -> None:
    options = replace(options, arch=tiny_clip(tmp_path) if arch == "clip" else arch, precision=precision)
    assert_same(train(options), train(replace(options, out=tmp_path / "again")))


@pytest.mark.parametrize("step", [1, 3])
def test_a_run_that_stops_ends_in_the_same_model(options: TrainOptions, tmp_path: Path, step: int) -> None:
    whole = train(replace(options, out=tmp_path / "whole"))
    with pytest.raises(Stop):
        train(options, stop_after(step))
    assert_same(resume(options.out), whole)


def test_a_run_goes_on_without_its_gpu(options: TrainOptions) -> None:
    with pytest.raises(Stop):
        train(options, stop_after(3))
    run = resume(options.out, {"device": "cpu"})
    assert [step for step, _ in losses(run)] == [1, 2, 3, 4, 5, 6]


def test_the_gpu_is_taken_by_itself_and_named(options: TrainOptions) -> None:
    run = train(replace(options, device="auto", precision="auto", epochs=1))
    assert RunFolder(run).description()["device"] == "cuda:0"
    assert RunFolder(run).description()["gpu"] == torch.cuda.get_device_name(0)
    assert RunFolder(run).description()["precision"] in ("fp32", "bf16")


def test_settings_are_left_as_they_were(options: TrainOptions) -> None:
    def settings() -> tuple[object, ...]:
        return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32

    before = settings()
    train(replace(options, epochs=1))
    assert settings() == before


def test_every_option_at_once(options: TrainOptions, tmp_path: Path) -> None:
    """What the recipe of cxrzero-mini asks for, from another run's weights; `predict` reads the bundle."""
    table = draw(tmp_path / "more", 52, held_out=4)
    rows = [line.split(",") for line in table.read_text("utf-8").splitlines()[1:]]
    lines = ["image,text,split,group,weight,truth"]
    for number, (image, text, split) in enumerate(rows):
        lines += [f"{image},{text},{split},{number % 2},1,1", f"{image},no finding,{split},{number % 2},2,0.8"]
    table.write_text("\n".join(lines) + "\n", "utf-8")
    arch = load_arch("cxrzero-tiny")
    arch["vision_cfg"]["timm_proj_bias"] = True
    (tmp_path / "arch.json").write_text(json.dumps(arch), "utf-8")
    first = train(replace(options, pairs=table, epochs=1, arch=str(tmp_path / "arch.json")))
    run = train(
        replace(
            options, pairs=table, init=first, arch=None, out=tmp_path / "student", freeze="text", texts_per_image=4,
            loss="sigmoid", mixup=0.3, first_size=32, first_share=0.5, refit=True, alike="no finding",
            precision="auto", ensemble=2, lr=1e-3,
        )
    )  # fmt: skip
    provenance = json.loads((run / "model.json").read_text("utf-8"))["provenance"]
    assert provenance["refit"]["images"] == 48
    assert provenance["alike"]["groups"] == 2
    assert len([*(run / "ensemble").iterdir()]) == 2
    films = sorted(table.parent.glob("*.png"))[:3]
    on_gpu, on_cpu = (
        Screener(run, device=device, backend=backend, cache=False).predict(films, ["finding"])  # type: ignore[arg-type]
        for device, backend in (("cuda", "torch"), ("cpu", "onnxruntime"))
    )
    assert [row.scores["finding"] for row in on_gpu] == pytest.approx(
        [row.scores["finding"] for row in on_cpu], abs=1e-5
    )
