"""What holds on a GPU; skipped where there is none. How one is found is tested in test_onnxruntime.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.backends import Encoder, open_encoder
from cxrzero.backends.gpus import find_gpus
from cxrzero.choices import DecodeIn
from cxrzero.clip.steps import chexzero_steps, clip_steps
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import load_bundle
from cxrzero.model.geometry import Geometry
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline import films as whole_films
from cxrzero.prediction import Prediction
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


# The small bundle has no fp16 file for ONNX Runtime to run.
@pytest.mark.parametrize(
    ("backend", "precision"), [("onnxruntime", "fp32"), ("torch", "fp32"), ("torch", "bf16"), ("torch", "fp16")]
)
def test_an_image_has_one_result_whatever_shares_its_batch(tiny_bundle: Path, backend: str, precision: str) -> None:
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_that_call_at_once_get_their_own_rows(tiny_bundle: Path, backend: str) -> None:
    gpu = on_gpu(tiny_bundle, backend)
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


def test_torch_records_a_cuda_graph(tiny_bundle: Path) -> None:
    gpu = on_gpu(tiny_bundle, "torch")
    gpu.encode_images(pictures())
    gpu.encode_texts(np.random.default_rng(0).integers(1, 200, (3, CONTEXT)))
    assert gpu.reason == "asked for"  # where none could be recorded it says so


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_what_torch_recorded_gives_the_bits_of_its_operators(tiny_bundle: Path, precision: str) -> None:
    recorded, started = (on_gpu(tiny_bundle, "torch", precision) for _ in range(2))
    whole = recorded.encode_images(pictures())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxrzero.backends.torch.cuda.Cuda.record", _refuse)
        np.testing.assert_array_equal(started.encode_images(pictures()), whole)
    assert started.reason.endswith("could be recorded: not now")


def _refuse(*given: object) -> None:
    raise RuntimeError("not now")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_torch_in_half_precision_takes_fitted_pictures(tiny_bundle: Path, precision: str) -> None:
    gpu = on_gpu(tiny_bundle, "torch", precision)
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (FILMS, 2 * SIDE, 2 * SIDE), dtype=np.uint8)
    steps = ValueSteps(rng.normal(size=(1, 256)).astype(np.float32), SIDE)
    fitted = gpu.encode_fitted(list(frames), steps)
    np.testing.assert_array_equal(fitted, gpu.encode_images(steps(frames)))
    np.testing.assert_array_equal(gpu.encode_fitted(list(frames[63:66]), steps), fitted[63:66])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("steps", [clip_steps(SIDE), chexzero_steps(SIDE)], ids=["clip", "chexzero"])
def test_films_that_torch_fits_give_the_bits_of_those_that_pillow_fitted(
    tiny_bundle: Path, steps: list[dict[str, Any]], precision: str
) -> None:
    gpu = on_gpu(tiny_bundle, "torch", precision)
    assert gpu.takes_films
    preprocess = Preprocess(steps, (SIDE, SIDE))
    assert preprocess.value_steps is not None
    rng = np.random.default_rng(2)
    sizes = [(1024, 1024), (400, 320), (320, 390), (700, 1100)]
    films = [rng.integers(0, 256, sizes[row % 4], dtype=np.uint8) for row in range(150)]
    fitted = [preprocess.fit(film) for film in films]
    films[5], films[77] = fitted[5], fitted[77]
    expected = gpu.encode_fitted(fitted, preprocess.value_steps)
    for _ in range(3):  # pinned memory is used again
        found = gpu.encode_films(films, preprocess.fit, preprocess.value_steps)
        np.testing.assert_array_equal(found, expected)
    some = gpu.encode_films(films[60:71], preprocess.fit, preprocess.value_steps)
    np.testing.assert_array_equal(some, expected[60:71])


@pytest.mark.parametrize("decode_in", ["threads", "processes"])
def test_predict_with_whole_films_is_predict_with_fitted_ones(
    tiny_bundle: Path, png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, decode_in: DecodeIn
) -> None:
    on_gpu(tiny_bundle, "torch")
    from cxrzero.backends.torch.encoder import TorchEncoder

    films = [png(f"films/{seed}.png", seed=seed) for seed in range(70)]
    taken: list[int] = []
    real = TorchEncoder.encode_films

    def noted(self: TorchEncoder, films: Sequence[np.ndarray], geometry: Geometry, steps: ValueSteps) -> np.ndarray:
        taken.append(sum(film.shape != geometry.fitted_size for film in films))
        return real(self, films, geometry, steps)

    monkeypatch.setattr(TorchEncoder, "encode_films", noted)

    def rows() -> list[Prediction]:
        screener = Screener(
            tiny_bundle, device="cuda", backend="torch", workers=2, decode_in=decode_in, batch_size=32, cache=False
        )
        return screener.predict(films[0].parent, ["edema"])

    whole = rows()
    assert len(films) - 2 <= sum(taken) < len(films)  # but the first one of each worker, of a size that is new to it
    monkeypatch.setattr(whole_films, "MOST_BYTES", 0)
    assert rows() == whole
    assert len(taken) == 3
