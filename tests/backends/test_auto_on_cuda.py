"""What `--backend auto` takes where there is a GPU: what was measured, by its rate."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxrzero.backends import measured, open_encoder
from cxrzero.backends.base import CUDA_BATCH
from cxrzero.backends.gpus import Gpu, refused
from cxrzero.errors import ConfigError, DeviceError, MissingExtraError
from cxrzero.model.bundle import Bundle, load_bundle
from tests.support import REPO
from tests.support.bundle import write_bundle

SMALL = {"max_abs_d_over_sd": 0.01, "spearman": 0.9999}
STATED = {"n": 96, "command": "a test"}
ONLY_TORCH = {"fp32": {"torch": 2000.0}, "fp16": {"torch": 20000.0}}


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(backend, device, precision) of what was opened, on a pretended GPU; those on a CPU really are."""
    from cxrzero.backends import open as module

    really, seen = module._open_named, list[tuple[str, str, str]]()

    def pretended(name: str, bundle: Bundle, device: str, precision: Any, threads: Any) -> Any:
        seen.append((name, device, precision))
        if device == "cpu":
            return really(name, bundle, device, precision, threads)
        if name in BROKEN:
            raise BROKEN[name]
        return SimpleNamespace(backend=name, device="cuda", precision=precision, reason="asked for")

    monkeypatch.setattr(module, "_open_named", pretended)
    monkeypatch.setattr(module, "gpu_of", lambda device: Gpu(0, "Pretended GPU"))
    monkeypatch.setattr("cxrzero.backends.measured.ON_CUDA", ONLY_TORCH)
    BROKEN.clear()
    return seen


BROKEN: dict[str, Exception] = {}


def test_what_alone_was_measured_is_taken(bundle: Bundle, opened: list[tuple[str, str, str]]) -> None:
    encoder = open_encoder(bundle, device="auto")
    assert opened == [("torch", "cuda", "fp32")]
    assert encoder.reason == "an NVIDIA GPU was found; torch, which alone has been measured on a GPU in fp32"
    assert open_encoder(bundle, device="cuda:0").reason.startswith("asked for; torch, which alone")
    assert opened[-1] == ("torch", "cuda:0", "fp32")


def test_the_faster_one_is_taken_and_the_other_where_it_does_not_run(
    bundle: Bundle, opened: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"fp32": {"torch": 3000.0, "onnxruntime": 4000.0}}
    monkeypatch.setattr("cxrzero.backends.measured.ON_CUDA", rates)
    monkeypatch.setattr("cxrzero.backends.measured.CARD", "NVIDIA X")
    encoder = open_encoder(bundle)
    assert encoder.backend == "onnxruntime"
    assert encoder.reason.endswith("; onnxruntime, the faster in fp32 by measurement (4,000 images/s on an NVIDIA X)")
    BROKEN["onnxruntime"] = DeviceError("no cuDNN")
    encoder = open_encoder(bundle)
    assert encoder.backend == "torch"
    assert encoder.reason.endswith("; torch, since onnxruntime, which is faster, does not run here")


def test_what_was_not_measured_is_taken_only_if_cuda_is_asked_for(
    bundle: Bundle, opened: list[tuple[str, str, str]]
) -> None:
    BROKEN["torch"] = MissingExtraError("torch", "torch")
    encoder = open_encoder(bundle, device="cuda")
    assert (encoder.backend, encoder.reason) == (
        "onnxruntime",
        "asked for; onnxruntime has not been measured on a GPU in fp32",
    )
    encoder = open_encoder(bundle, device="auto")
    assert encoder.device == "cpu"
    assert "torch" in encoder.reason
    assert "onnxruntime: onnxruntime has not been measured on a GPU in fp32 (--device cuda takes it)" in encoder.reason


def test_nothing_that_runs_is_an_error_with_all_reasons(bundle: Bundle, opened: list[tuple[str, str, str]]) -> None:
    BROKEN["torch"] = refused("cuda", DeviceError("torch finds no usable GPU"))
    BROKEN["onnxruntime"] = DeviceError("no cuDNN")
    with pytest.raises(
        DeviceError,
        match=r"^--device cuda cannot run here: torch: torch finds no usable GPU; onnxruntime: no cuDNN$",
    ):
        open_encoder(bundle, device="cuda")


def test_auto_precision_takes_fp16_where_the_card_states_little_deviation(
    tmp_path: Path, opened: list[tuple[str, str, str]]
) -> None:
    variants = {"fp16": {"image_encoder": None, "deviation": {**SMALL, **STATED}}}
    stated = load_bundle(write_bundle(tmp_path / "stated", variants=variants))
    encoder = open_encoder(stated, device="auto", precision="auto")
    assert (encoder.backend, encoder.precision) == ("torch", "fp16")
    assert encoder.reason == (
        "an NVIDIA GPU was found; torch, which alone has been measured on a GPU in fp16; "
        "fp16 is within the bound on deviation, by the model's card"
    )
    unstated = load_bundle(write_bundle(tmp_path / "unstated"))
    encoder = open_encoder(unstated, device="auto", precision="auto")
    assert encoder.precision == "fp32"
    assert encoder.reason.endswith(
        "; fp32, since the model's card states no deviation within the bound for a faster precision here"
    )


def test_a_precision_that_no_backend_has_there(bundle: Bundle, opened: list[tuple[str, str, str]]) -> None:
    with pytest.raises(ConfigError, match="int8"):
        open_encoder(bundle, device="auto", precision="int8")


def test_a_gpu_that_is_not_there(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.backends.gpus.find_gpus", lambda: (Gpu(0, "NVIDIA L4"),))
    with pytest.raises(DeviceError, match=r"^--device cuda:1 cannot run here: there is no cuda:1: CUDA shows 1 GPU, "):
        open_encoder(bundle, device="cuda:1")


def test_the_rates_are_those_of_the_log() -> None:
    log = REPO / "benchmarks" / "results" / "gpu.jsonl"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rates = {entry["row"]: entry["images_per_second"] for entry in entries if "images_per_second" in entry}
    assert next(entry["gpu"] for entry in entries if "gpu" in entry) == measured.CARD
    for precision, backends in measured.ON_CUDA.items():
        for backend, rate in backends.items():
            assert rate == round(rates[f"encode vit-b-32 {backend} {precision} {CUDA_BATCH}"])
