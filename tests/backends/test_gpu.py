"""What holds on a GPU; skipped where there is none. How one is found is tested in test_onnxruntime.py."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.backends import Encoder, open_encoder
from cxrzero.backends.gpus import find_gpus
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.values import ValueSteps
from tests.support.bundle import CONTEXT, SIDE
from tests.support.needs import modules

FILMS = 200
BACKENDS = ("onnxruntime", "torch")


def pictures(count: int = FILMS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def on_gpu(bundle: Path, backend: str, precision: str = "fp32", device: str = "cuda") -> Encoder:
    if backend == "torch":
        modules("torch")
    try:
        encoder = open_encoder(load_bundle(bundle), backend, device, precision)  # type: ignore[arg-type]
    except DeviceError as error:
        pytest.skip(str(error))
    assert encoder.device == "cuda"
    return encoder


@pytest.mark.parametrize("backend", BACKENDS)
def test_fp32_is_what_the_cpu_gives(tiny_bundle: Path, backend: str) -> None:
    cpu = open_encoder(load_bundle(tiny_bundle), "onnxruntime", "cpu")
    gpu = on_gpu(tiny_bundle, backend)
    np.testing.assert_allclose(gpu.encode_images(pictures()), cpu.encode_images(pictures()), atol=1e-5)
    input_ids = np.random.default_rng(0).integers(1, 200, (3, CONTEXT))
    np.testing.assert_allclose(gpu.encode_texts(input_ids), cpu.encode_texts(input_ids), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_image_has_one_result_whatever_shares_its_batch(tiny_bundle: Path, backend: str, precision: str) -> None:
    if backend == "onnxruntime" and precision != "fp32":
        pytest.skip("the small bundle has no file in that precision")
    gpu = on_gpu(tiny_bundle, backend, precision)
    whole = gpu.encode_images(pictures())
    for start, stop in ((0, 1), (3, 70), (64, 200), (199, 200)):
        np.testing.assert_array_equal(gpu.encode_images(pictures()[start:stop]), whole[start:stop])
    np.testing.assert_array_equal(on_gpu(tiny_bundle, backend, precision).encode_images(pictures()), whole)


@pytest.mark.parametrize("side", [None, SIDE], ids=["levels", "bicubic"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_value_steps_on_the_gpu_give_the_same_bits(tiny_bundle: Path, backend: str, side: int | None) -> None:
    gpu = on_gpu(tiny_bundle, backend)
    rng = np.random.default_rng(1)
    extent = SIDE if side is None else 3 * SIDE
    frames = rng.integers(0, 256, (FILMS, extent, extent), dtype=np.uint8)
    for channels in (1, 3):
        steps = ValueSteps(rng.normal(size=(channels, 256)).astype(np.float32), side)
        assert gpu.takes_fitted
        fitted = gpu.encode_fitted(list(frames), steps)
        np.testing.assert_array_equal(fitted, gpu.encode_images(steps(frames)))
        np.testing.assert_array_equal(gpu.encode_fitted(list(frames[70:75]), steps), fitted[70:75])


@pytest.mark.parametrize("size", [1, 8, 64, 256])
@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_of_any_size_give_the_order_of_the_rows(tiny_bundle: Path, backend: str, size: int) -> None:
    gpu = on_gpu(tiny_bundle, backend)
    gpu.fixed_batch = size  # type: ignore[attr-defined]
    exact = open_encoder(load_bundle(tiny_bundle), "onnxruntime", "cpu").encode_images(pictures())
    np.testing.assert_allclose(gpu.encode_images(pictures()), exact, atol=1e-5)
    np.testing.assert_array_equal(gpu.encode_images(pictures()[::-1]), gpu.encode_images(pictures())[::-1])


def test_onnxruntime_records_a_cuda_graph(tiny_bundle: Path) -> None:
    gpu = on_gpu(tiny_bundle, "onnxruntime")
    gpu.encode_images(pictures())
    assert gpu.reason == "asked for"  # where none could be recorded it says so


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gpu_has_a_name_and_a_number(tiny_bundle: Path, backend: str) -> None:
    gpu = on_gpu(tiny_bundle, backend, device="cuda:0")
    assert gpu.gpu == find_gpus()[0]
    assert gpu.gpu.name not in ("", "unknown GPU")
    with pytest.raises(DeviceError, match="there is no cuda:99"):
        open_encoder(load_bundle(tiny_bundle), backend, "cuda:99")  # type: ignore[arg-type]


def test_threads_that_call_at_once_get_their_own_rows(tiny_bundle: Path) -> None:
    gpu = on_gpu(tiny_bundle, "onnxruntime")
    whole = gpu.encode_images(pictures())
    parts = [slice(start, start + 50) for start in range(0, FILMS, 10)]
    with ThreadPoolExecutor(4) as pool:
        for part, given in zip(parts, pool.map(lambda part: gpu.encode_images(pictures()[part]), parts), strict=True):
            np.testing.assert_array_equal(given, whole[part])


@pytest.mark.parametrize("backend", BACKENDS)
def test_predict_gives_what_the_cpu_gives(tiny_bundle: Path, png: Callable[..., Path], backend: str) -> None:
    on_gpu(tiny_bundle, backend)
    films = [png(f"films/{seed}.png", seed=seed) for seed in range(9)]
    on_cpu, on_cuda = (
        Screener(tiny_bundle, device=device, backend=name, cache=False).predict(films[0].parent, ["edema"])  # type: ignore[arg-type]
        for device, name in (("cpu", "onnxruntime"), ("cuda", backend))
    )
    assert [row.scores["edema"] for row in on_cuda] == pytest.approx([row.scores["edema"] for row in on_cpu], abs=1e-5)
