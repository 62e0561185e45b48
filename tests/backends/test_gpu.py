"""What holds on a GPU; skipped where there is none. How one is found is tested in test_onnxruntime.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.backends import Encoder, open_encoder
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import load_bundle
from tests.support.bundle import CONTEXT, SIDE
from tests.support.needs import modules

FILMS = 200
BACKENDS = ("onnxruntime", "torch")


def pictures(count: int = FILMS) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


def on_gpu(bundle: Path, backend: str, precision: str = "fp32") -> Encoder:
    if backend == "torch":
        modules("torch")
    try:
        encoder = open_encoder(load_bundle(bundle), backend, "cuda", precision)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_predict_gives_what_the_cpu_gives(tiny_bundle: Path, png: Callable[..., Path], backend: str) -> None:
    on_gpu(tiny_bundle, backend)
    films = [png(f"films/{seed}.png", seed=seed) for seed in range(9)]
    on_cpu, on_cuda = (
        Screener(tiny_bundle, device=device, backend=name, cache=False).predict(films[0].parent, ["edema"])  # type: ignore[arg-type]
        for device, name in (("cpu", "onnxruntime"), ("cuda", backend))
    )
    assert [row.scores["edema"] for row in on_cuda] == pytest.approx([row.scores["edema"] for row in on_cpu], abs=1e-5)
