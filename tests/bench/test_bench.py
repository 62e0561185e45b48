"""`cxrzero bench`: what it prints and advises. That its figures are right is for quiet machines."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.bench import advice
from cxrzero.bench.advice import Stages
from cxrzero.bench.stages import EncodeRate, NotMeasured
from cxrzero.bench.stopwatch import Rate, measure
from cxrzero.cli import app
from cxrzero.errors import DeviceError
from tests.support.needs import modules

pytestmark = pytest.mark.slow

Draw = Callable[..., Path]


def bench(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "--seconds", "0.1", "--quiet", *map(str, arguments)])
    return result.exit_code, result.output


def test_json_has_every_stage_backend_and_an_advice_that_predict_takes(png: Draw, tiny_bundle: Path) -> None:
    modules("openvino", "torch")
    paths = [png(f"{seed}.png", seed) for seed in range(3)]
    code, output = bench(*paths, paths[0].parent / "1.png", "--model", tiny_bundle, "--format", "json")
    assert code == 0, output
    found = json.loads(output)
    assert found["films"] == {"n": 4, "drawn": False, "unreadable": 0, "megapixels": 0.00128}
    assert found["decode"]["images_per_second"] > 0 < found["preprocess"]["core_ms"]
    rows = {(each["backend"], each["precision"]): each for each in found["encode"]}
    assert {("onnxruntime", "fp32"), ("openvino", "fp32"), ("torch", "fp32")} <= rows.keys()
    assert rows["torch", "bf16"]["is_admissible"] is False
    assert rows["torch", "fp32"]["is_admissible"] is True
    assert {each["precision"] for each in found["not_measured"]} >= {"fp16"}
    assert found["bounded_by"] in ("decode", "preprocess", "encode")
    assert found["advice"]["auto"] is None
    options = [f"--{key.replace('_', '-')}={value}" for key, value in found["advice"]["exact"].items()]
    asked = ["predict", str(paths[0]), "--model", str(tiny_bundle), "--out", str(paths[0].with_suffix(".csv"))]
    result = CliRunner().invoke(app, [*asked, "--dry-run", *options])
    assert result.exit_code == 0, result.output


def test_text_says_what_bounds_the_run(png: Draw, tiny_bundle: Path) -> None:
    code, output = bench(png("a.png"), "--model", tiny_bundle)
    assert code == 0, output
    assert "bounded by: " in output
    assert "exact:      cxrzero predict PATH --backend" in output
    assert "1 file of" in output


def test_films_are_drawn_where_none_are_given(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.bench.films.draw_films.__defaults__", (64,))
    code, output = bench("--images", "2", "--model", tiny_bundle, "--format", "json")
    assert code == 0, output
    assert json.loads(output)["films"] == {"n": 2, "drawn": True, "unreadable": 0, "megapixels": 0.004096}


def test_unreadable_files_are_counted_and_alone_are_an_error(png: Draw, tiny_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    code, output = bench(broken, png("a.png"), "--model", tiny_bundle, "--format", "json")
    assert (code, json.loads(output)["films"]["unreadable"]) == (0, 1)
    assert bench(broken, "--model", tiny_bundle)[0] == 2
    assert bench(tmp_path / "nowhere", "--model", tiny_bundle)[0] == 2


def test_a_device_that_is_not_there_is_one_error_before_anything_is_measured(
    png: Draw, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu(device: str) -> None:
        raise DeviceError("no NVIDIA driver was found")

    monkeypatch.setattr("cxrzero.backends.open.gpu_of", no_gpu)
    monkeypatch.setattr("cxrzero.bench.run.decode_rate", None)
    code, said = bench(png("films/a.png"), "--model", tiny_bundle, "--device", "cuda:1")
    assert code == 1
    why = "--device cuda:1 cannot run here: no NVIDIA driver was found; use --device cpu or auto"
    assert " ".join(said.split()) == f"Error: {why}"


def test_why_nothing_runs_is_said_once_for_all_precisions(
    png: Draw, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = [("torch", "fp32", "no GPU"), ("torch", "fp16", "no GPU"), ("openvino", "fp32", "no CUDA")]
    monkeypatch.setattr("cxrzero.bench.run.encode_rates", lambda *_: ([], [NotMeasured(*each) for each in reasons]))
    code, said = bench(png("films/a.png"), "--model", tiny_bundle)
    assert (code, said.strip()) == (1, "Error: torch: no GPU; openvino: no CUDA")


def test_the_bound_shares_cores_on_a_cpu_and_is_the_slower_stage_beside_a_gpu() -> None:
    stages = Stages(decode=Rate(150, 12), preprocess=Rate(120, 8), cores=2)
    cpu = EncodeRate("onnxruntime", "cpu", "fp32", 16, Rate(40, 80), True)
    assert advice.bound(stages, cpu) == pytest.approx(20)
    assert advice.bounded_by(stages, cpu) == "encode"
    assert advice.workers_to_try(stages, cpu) == [1, 2]
    gpu = dataclasses.replace(cpu, device="cuda", rate=Rate(3000, 1))
    assert advice.bound(stages, gpu) == pytest.approx(100)
    assert advice.bounded_by(stages, gpu) == "decode"
    assert advice.workers_to_try(stages, gpu) == [2]
    slow_gpu = dataclasses.replace(gpu, rate=Rate(50, 1))
    assert advice.bound(stages, slow_gpu) == 50
    assert advice.bounded_by(stages, slow_gpu) == "encode"
    assert advice.fastest([cpu, slow_gpu, gpu]) is gpu


def test_the_best_of_three_calls_counts() -> None:
    calls: list[int] = []
    rate = measure(lambda: calls.append(1), images=10, seconds=0.0)
    assert len(calls) == 4
    assert rate.images_per_second > 0


def test_the_whole_is_measured_with_torch_where_that_is_the_fastest(
    png: Draw, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules("torch")
    monkeypatch.setattr(
        "cxrzero.bench.run.fastest", lambda found: next(each for each in found if each.backend == "torch")
    )
    code, output = bench(png("a.png"), "--model", tiny_bundle)
    assert code == 0, output
    assert "--backend torch" in output
