"""The calls of torch on CUDA, on a pretended GPU whose arithmetic is the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.needs import modules

modules("onnx", "torch")

import torch  # noqa: E402

import cxrzero.backends.torch.encoder as encoder_module  # noqa: E402
from cxrzero.backends.gpus import Gpu  # noqa: E402
from cxrzero.backends.torch.calls import Calls  # noqa: E402
from cxrzero.backends.torch.encoder import TorchEncoder  # noqa: E402
from cxrzero.backends.torch.fit import Fitter  # noqa: E402
from cxrzero.errors import BundleError, RunError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.model.geometry import Geometry, resize  # noqa: E402
from cxrzero.model.values import ValueSteps  # noqa: E402
from tests.support.bundle import CONTEXT, SIDE, WIDTH  # noqa: E402
from tests.support.scorers import write_scorer_bundle  # noqa: E402
from tests.support.torch_cuda import PretendedCuda  # noqa: E402

RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(23, 3, SIDE, SIDE)).astype(np.float32)
FRAMES = list(RNG.integers(0, 256, (23, SIDE, SIDE), dtype=np.uint8))
FILMS = [RNG.integers(0, 256, (30 + seed % 4, 41 - seed % 3), dtype=np.uint8) for seed in range(23)]
GEOMETRY = Geometry([partial(resize, height=SIDE, width=SIDE, interpolation="bicubic")])
STEPS = ValueSteps(RNG.normal(size=(1, 256)).astype(np.float32))
ROW = ((3, SIDE, SIDE), torch.float32)
EAGER = [(), ("copies",), ("arithmetic",), ("copies", "arithmetic")]


def double(values: torch.Tensor) -> torch.Tensor:
    """Embeds a picture as its first row, doubled: exact, so that a row of another picture shows."""
    return 2 * values[:, 0, 0]


@pytest.mark.parametrize("eager", EAGER)
@pytest.mark.parametrize("size", [1, 4, 8, 23, 64])
def test_rows_keep_their_order_and_no_buffer_is_written_while_it_is_used(size: int, eager: tuple[str, ...]) -> None:
    calls = Calls(PretendedCuda(eager=eager), double, size, ROW)
    np.testing.assert_array_equal(calls(PIXELS), 2 * PIXELS[:, 0, 0])
    np.testing.assert_array_equal(calls(PIXELS[::-1][:9]), 2 * PIXELS[::-1][:9, 0, 0])
    fitted = Calls(PretendedCuda(eager=eager), double, size, (FRAMES[0].shape, torch.uint8), STEPS)
    np.testing.assert_array_equal(fitted(FRAMES), 2 * STEPS(np.stack(FRAMES))[:, 0, 0])
    whole = fitted(FILMS, Fitter(GEOMETRY, "cpu"))
    np.testing.assert_array_equal(whole, 2 * STEPS(np.stack([GEOMETRY(film) for film in FILMS]))[:, 0, 0])
    np.testing.assert_array_equal(fitted(FRAMES), 2 * STEPS(np.stack(FRAMES))[:, 0, 0])


def test_the_rows_of_a_call_are_queued_before_the_last_one_is_waited_for() -> None:
    cuda = PretendedCuda()
    calls = Calls(cuda, double, 8, ROW)
    assert cuda.log == ["run", "record"]
    cuda.log.clear()
    calls(PIXELS)
    # To the GPU, wait for that, into the input, run, back.
    call = ["copy", "wait", "copy", "run", "copy"]
    assert cuda.log == [*call, *call, "finish", *call, "finish", "finish"]


def test_the_places_that_are_left_hold_the_first_row() -> None:
    calls = Calls(PretendedCuda(), double, 8, ROW)
    calls(PIXELS)
    last = calls._calls[0].rows.numpy()  # the third call, of 7 rows
    np.testing.assert_array_equal(last, [*PIXELS[16:], PIXELS[16]])
    fitted = Calls(PretendedCuda(), double, 8, (FRAMES[0].shape, torch.uint8), STEPS)
    fitted(FILMS, Fitter(GEOMETRY, "cpu"))
    last = fitted._calls[0].there.numpy()
    np.testing.assert_array_equal(last, [GEOMETRY(film) for film in (*FILMS[16:], FILMS[16])])


def test_what_cannot_be_recorded_is_run_operator_by_operator_and_said() -> None:
    refused = RuntimeError("operation not permitted when stream is capturing\nmore")
    calls = Calls(PretendedCuda(unrecordable=refused), double, 8, ROW)
    assert calls.refusal == "operation not permitted when stream is capturing"
    np.testing.assert_array_equal(calls(PIXELS), 2 * PIXELS[:, 0, 0])


def test_memory_that_runs_out_while_work_is_recorded_is_not_mistaken_for_work_that_cannot_be() -> None:
    broken = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    broken.__context__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        Calls(PretendedCuda(unrecordable=broken), double, 8, ROW)


Pretend = Callable[..., TorchEncoder]


@pytest.fixture
def pretended(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Opens the tiny bundle on a pretended GPU."""

    def open_it(cuda: PretendedCuda, precision: Any = "fp32", path: Path = tiny_bundle) -> TorchEncoder:
        monkeypatch.setattr(encoder_module, "_finds_cuda", lambda: True)
        monkeypatch.setattr(encoder_module, "gpu_of", lambda device: Gpu(1, "Pretended"))
        monkeypatch.setattr(encoder_module, "Cuda", lambda number: cuda)
        return TorchEncoder(load_bundle(path), "cuda:1", precision)

    return open_it


def test_all_towers_give_what_the_cpu_gives(pretended: Pretend, tiny_bundle: Path) -> None:
    cuda = PretendedCuda()
    gpu, cpu = pretended(cuda), TorchEncoder(load_bundle(tiny_bundle), "cpu")
    assert (gpu.device, gpu.takes_fitted, cpu.takes_fitted) == ("cuda", True, False)
    np.testing.assert_allclose(gpu.encode_images(PIXELS), cpu.encode_images(PIXELS), atol=1e-6)
    input_ids = RNG.integers(1, 200, (5, CONTEXT))
    np.testing.assert_allclose(gpu.encode_texts(input_ids), cpu.encode_texts(input_ids), atol=1e-6)
    assert cuda.log.count("record") == 2
    assert gpu.reason == "asked for"


def test_a_model_that_scores_by_attention_gives_what_the_cpu_gives(pretended: Pretend, tmp_path: Path) -> None:
    path = write_scorer_bundle(tmp_path / "b", dtype="float16")
    gpu, cpu = pretended(PretendedCuda(), path=path), TorchEncoder(load_bundle(path), "cpu")
    films, texts = gpu.encode_images(PIXELS), gpu.encode_texts(RNG.integers(1, 200, (5, CONTEXT)))
    assert films.shape == (len(PIXELS), 12)
    np.testing.assert_array_equal(films, cpu.encode_images(PIXELS))
    np.testing.assert_array_equal(gpu.score(films, texts), cpu.score(films, texts))
    np.testing.assert_array_equal(gpu.attend(films, texts), cpu.attend(films, texts))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("side", [None, SIDE])
@pytest.mark.parametrize("channels", [1, 3])
def test_steps_on_the_device_give_the_same_bits(
    pretended: Pretend, precision: str, side: int | None, channels: int
) -> None:
    gpu = pretended(PretendedCuda(), precision)
    sides = (SIDE, SIDE) if side is None else (2 * SIDE + 1, SIDE + 3)
    frames = RNG.integers(0, 256, (70, *sides), dtype=np.uint8)
    steps = ValueSteps(RNG.normal(size=(channels, 256)).astype(np.float32), side)
    np.testing.assert_array_equal(gpu.encode_fitted(list(frames), steps), gpu.encode_images(steps(frames)))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_films_that_are_fitted_on_the_device_give_the_same_bits(pretended: Pretend, precision: str) -> None:
    cuda = PretendedCuda()
    gpu = pretended(cuda, precision)
    assert gpu.takes_films
    fitted = [GEOMETRY(film) for film in FILMS]
    expected = gpu.encode_fitted(fitted, STEPS)
    assert gpu._fitters == {}
    films = [film if row % 3 else fitted[row] for row, film in enumerate(FILMS)]  # some are fitted before
    np.testing.assert_array_equal(gpu.encode_films(films, GEOMETRY, STEPS), expected)
    assert cuda.log.count("record") == 1  # both are what follows the geometry
    assert list(gpu._fitters) == [GEOMETRY]


def test_films_are_fitted_by_pillow_on_the_cpu(tiny_bundle: Path) -> None:
    cpu = TorchEncoder(load_bundle(tiny_bundle), "cpu")
    assert not cpu.takes_films
    expected = cpu.encode_fitted([GEOMETRY(film) for film in FILMS], STEPS)
    np.testing.assert_array_equal(cpu.encode_films(FILMS, GEOMETRY, STEPS), expected)


def test_films_that_run_out_of_memory_are_encoded_in_smaller_calls(
    pretended: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = pretended(PretendedCuda())
    fit = Fitter.__call__

    def full(self: Fitter, films: Any) -> torch.Tensor:
        if len(films) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 128.00 MiB.")
        return fit(self, films)

    monkeypatch.setattr(Fitter, "__call__", full)
    found = gpu.encode_films(FILMS, GEOMETRY, STEPS)
    assert gpu.reason == "asked for; the GPU's memory ran out, so calls are of 8 rows"
    np.testing.assert_array_equal(found, gpu.encode_fitted([GEOMETRY(film) for film in FILMS], STEPS))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_image_has_one_result_whatever_shares_its_batch(pretended: Pretend, precision: str) -> None:
    gpu = pretended(PretendedCuda(), precision)
    many = RNG.normal(size=(150, 3, SIDE, SIDE)).astype(np.float32)
    whole = gpu.encode_images(many)
    for start, stop in ((0, 1), (3, 70), (64, 150), (149, 150)):
        np.testing.assert_array_equal(gpu.encode_images(many[start:stop]), whole[start:stop])


@pytest.mark.parametrize(("rows", "size"), [(63, 32), (16, 16), (1, 1)])
def test_calls_become_smaller_until_they_fit_into_memory(pretended: Pretend, rows: int, size: int) -> None:
    cuda = PretendedCuda(rows=rows)
    gpu = pretended(cuda)
    whole = pretended(PretendedCuda()).encode_images(PIXELS)
    np.testing.assert_allclose(gpu.encode_images(PIXELS), whole, atol=1e-6)
    assert gpu.reason == f"asked for; the GPU's memory ran out, so calls are of {size} rows"
    assert cuda.log.count("release") == {32: 1, 16: 2, 1: 6}[size]
    cuda.log.clear()
    gpu.encode_images(PIXELS)
    assert "record" not in cuda.log  # the calls are kept, and so is their size


def test_a_row_that_does_not_fit_is_an_error_that_names_the_gpu(pretended: Pretend) -> None:
    message = r"failed on a batch of 1 on cuda:1 \(Pretended\): CUDA out of memory"
    with pytest.raises(RunError, match=message):
        pretended(PretendedCuda(rows=0)).encode_images(PIXELS)


def test_what_could_not_be_recorded_stands_in_the_reason_once(pretended: Pretend) -> None:
    cuda = PretendedCuda(unrecordable=RuntimeError("operation not permitted"))
    gpu = pretended(cuda)
    whole = gpu.encode_images(PIXELS)
    np.testing.assert_array_equal(gpu.encode_fitted(FRAMES, STEPS), gpu.encode_images(STEPS(np.stack(FRAMES))))
    np.testing.assert_array_equal(gpu.encode_images(PIXELS), whole)
    assert gpu.reason == "asked for; no CUDA graph of image_encoder.onnx could be recorded: operation not permitted"
    assert cuda.log.count("record") == 1


def test_threads_that_call_at_once_get_their_own_rows(pretended: Pretend) -> None:
    gpu = pretended(PretendedCuda())
    whole = gpu.encode_images(PIXELS)
    parts = [slice(start, start + 5) for start in range(18)]
    with ThreadPoolExecutor(4) as pool:
        for part, found in zip(parts, pool.map(lambda part: gpu.encode_images(PIXELS[part]), parts), strict=True):
            np.testing.assert_array_equal(found, whole[part])


def test_numbers_that_are_not_finite_are_an_error(pretended: Pretend) -> None:
    gpu = pretended(PretendedCuda())
    with pytest.raises(BundleError, match=rf"image_embeds is not finite with shape \(N, {WIDTH}\)"):
        gpu.encode_images(np.full((2, 3, SIDE, SIDE), np.nan, np.float32))
