"""The calls of ONNX Runtime on CUDA, on a pretended GPU whose arithmetic is the CPU's."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

import cxrzero.backends.onnxruntime as encoder_module
from cxrzero.backends.base import IMAGE, IMAGE_TOKENS
from cxrzero.backends.cudart import Cuda, CudaError
from cxrzero.backends.gpus import Gpu
from cxrzero.backends.onnxruntime import BATCH_AXIS, OnnxRuntimeEncoder
from cxrzero.backends.ort_cuda import ImageCalls
from cxrzero.backends.ort_session import PROVIDERS, TowerSession, open_session, open_tower, quiet_options
from cxrzero.cli import app
from cxrzero.errors import BundleError, DeviceError, RunError
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import IMAGE_ENCODER
from cxrzero.model.values import ValueSteps
from cxrzero.screener import Screener
from tests.support.bundle import CONTEXT, SIDE, WIDTH
from tests.support.cuda import PretendedGpu, Runtime, queued
from tests.support.scorers import write_scorer_bundle

RNG = np.random.default_rng(0)
CPU = (PROVIDERS["cpu"], dict[str, str]())
PIXELS = RNG.normal(size=(23, 3, SIDE, SIDE)).astype(np.float32)
FRAMES = list(RNG.integers(0, 256, (23, SIDE, SIDE), dtype=np.uint8))
STEPS = ValueSteps(RNG.normal(size=(1, 256)).astype(np.float32))
# Streams are numbered in the order made: the copies', the arithmetic's.
EAGER = [(), (1,), (2,), (1, 2)]

Refusal = Callable[[dict[str, str]], None]


def tower_of(bundle: Bundle, size: int) -> TowerSession:
    options = quiet_options()
    options.add_free_dimension_override_by_name(BATCH_AXIS, size)
    return open_tower(bundle.file(IMAGE_ENCODER), IMAGE, CPU, options)


def calls_of(bundle: Bundle, runtime: Runtime, size: int) -> ImageCalls:
    return ImageCalls(
        PretendedGpu(runtime),
        (size, 3, SIDE, SIDE),
        (WIDTH,),
        lambda stream: queued(tower_of(bundle, size), runtime, stream.handle),
        lambda model, stream: (
            queued(TowerSession(open_session(model, CPU, quiet_options()), IMAGE, {}), runtime, stream.handle).session
        ),
    )


def expected(bundle: Bundle, pixels: np.ndarray, size: int) -> np.ndarray:
    """One call after the other, each filled up with its first row."""
    run = tower_of(bundle, size)
    parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    filled = [np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)]) for part in parts]
    return np.concatenate([run(rows)[: len(part)] for rows, part in zip(filled, parts, strict=True)])


@pytest.mark.parametrize("eager", EAGER)
@pytest.mark.parametrize("size", [1, 4, 8, 23, 64])
def test_rows_keep_their_order_and_no_buffer_is_written_while_it_is_used(
    tiny_bundle: Path, size: int, eager: tuple[int, ...]
) -> None:
    bundle = load_bundle(tiny_bundle)
    calls = calls_of(bundle, Runtime(eager=eager), size)
    np.testing.assert_array_equal(calls(PIXELS, None), expected(bundle, PIXELS, size))
    fitted = expected(bundle, STEPS(np.stack(FRAMES)), size)
    np.testing.assert_array_equal(calls(FRAMES, STEPS), fitted)
    backwards = FRAMES[::-1]
    np.testing.assert_array_equal(calls(backwards, STEPS), expected(bundle, STEPS(np.stack(backwards)), size))
    np.testing.assert_array_equal(calls(PIXELS[:2], None), expected(bundle, PIXELS[:2], size))


def test_the_pictures_of_a_call_are_queued_before_the_last_one_is_waited_for(tiny_bundle: Path) -> None:
    runtime = Runtime()
    calls = calls_of(load_bundle(tiny_bundle), runtime, 8)
    runtime.log.clear()
    calls(PIXELS, None)
    # To the GPU, wait for that, into the encoder's input, run, back.
    call = ["copy", "wait", "copy", "run", "copy"]
    assert runtime.log == [*call, *call, "finish", *call, "finish", "finish"]


def test_the_places_that_are_left_hold_the_first_row(tiny_bundle: Path) -> None:
    calls = calls_of(load_bundle(tiny_bundle), Runtime(), 8)
    calls(FRAMES, STEPS)
    assert calls._feed is not None
    last = calls._feed.here[0].array[:, 0]  # the third call, of 7 rows
    np.testing.assert_array_equal(last, [*FRAMES[16:], FRAMES[16]])


def test_other_steps_and_other_shapes_take_the_place_of_the_last_ones(tiny_bundle: Path) -> None:
    runtime = Runtime()
    calls = calls_of(load_bundle(tiny_bundle), runtime, 8)
    before = runtime.used
    pictures = 2 * 8 * SIDE * SIDE
    calls(FRAMES, STEPS)
    assert runtime.used == before + pictures
    other = ValueSteps(RNG.normal(size=(3, 256)).astype(np.float32), SIDE)
    tall = [np.pad(frame, ((0, 5), (0, 0))) for frame in FRAMES]
    bundle = load_bundle(tiny_bundle)
    np.testing.assert_array_equal(calls(tall, other), expected(bundle, other(np.stack(tall)), 8))
    assert runtime.used == before + 2 * 8 * (SIDE + 5) * SIDE
    calls.close()
    assert runtime.used == 0


def test_errors_of_cuda_say_what_failed() -> None:
    with pytest.raises(CudaError, match=r"^CUDA: out of memory \(cudaErrorMemoryAllocation in cudaMalloc\)$"):
        Cuda(Runtime(memory=10)).memory(11)
    with pytest.raises(CudaError, match=r"^CUDA: invalid device ordinal \(cudaErrorInvalidDevice in cudaSetDevice\)$"):
        Cuda(Runtime(), number=1).stream()


def pretend(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, rows: int | None = None, refuse: Refusal = lambda settings: None
) -> list[dict[str, str]]:
    """Have ONNX Runtime find a GPU, which holds `rows` rows; returns the settings of its sessions of the encoder."""
    opened: list[dict[str, str]] = []

    def pretended_tower(path: Path, tower: Any, provider: Any, options: Any) -> TowerSession:
        settings = dict(provider[1])
        opened.append(settings)
        refuse(settings)
        real = open_tower(path, tower, CPU, options)
        return (
            queued(real, runtime, int(settings["user_compute_stream"]), rows)
            if tower in (IMAGE, IMAGE_TOKENS)
            else real
        )

    def pretended_session(model: Any, provider: Any, options: Any) -> Any:
        tower = TowerSession(open_session(model, CPU, options), IMAGE, {})
        return queued(tower, runtime, int(provider[1]["user_compute_stream"])).session

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(encoder_module, "gpu_of", lambda device: Gpu(0, "Pretended GPU"))
    monkeypatch.setattr(encoder_module, "start_cuda", lambda number: PretendedGpu(runtime, number))
    monkeypatch.setattr(encoder_module, "open_tower", pretended_tower)
    monkeypatch.setattr(encoder_module, "open_session", pretended_session)
    return opened


def test_an_encoder_on_cuda(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, ids = load_bundle(tiny_bundle), RNG.integers(1, 200, (3, CONTEXT))
    text_embeds = OnnxRuntimeEncoder(bundle, "cpu").encode_texts(ids)
    opened = pretend(monkeypatch, Runtime())
    encoder = OnnxRuntimeEncoder(bundle, "cuda")
    assert (encoder.device, str(encoder.gpu), encoder.takes_fitted) == ("cuda", "cuda:0 (Pretended GPU)", True)
    assert len(opened) == 1  # recorded before a decoder on the same GPU asks for memory
    opened.clear()
    encoder.fixed_batch = 8
    np.testing.assert_array_equal(encoder.encode_images(PIXELS), expected(bundle, PIXELS, 8))
    fitted = encoder.encode_fitted(FRAMES, STEPS)
    np.testing.assert_array_equal(fitted, encoder.encode_images(STEPS(np.stack(FRAMES))))
    np.testing.assert_allclose(encoder.encode_texts(ids), text_embeds, atol=1e-6)
    images, texts = opened
    assert images.pop("user_compute_stream")
    exact = {"device_id": "0", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert images == {**exact, "enable_cuda_graph": "1"}
    assert exact.items() <= texts.items()
    assert "enable_cuda_graph" not in texts
    assert encoder.reason == "asked for"


def test_a_batch_shares_no_result(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Runtime())
    encoder = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cuda")
    whole = encoder.encode_images(PIXELS)
    for start, stop in ((0, 1), (3, 20), (22, 23)):
        np.testing.assert_array_equal(encoder.encode_images(PIXELS[start:stop]), whole[start:stop])


def test_callers_in_several_threads_are_served_in_one(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    pretend(monkeypatch, runtime)
    encoder = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cuda")
    encoder.fixed_batch = 4
    whole = encoder.encode_images(PIXELS)
    with ThreadPoolExecutor(4) as pool:
        for given in pool.map(encoder.encode_images, [PIXELS] * 8):
            np.testing.assert_array_equal(given, whole)
    assert len(runtime.threads) == 1


@pytest.mark.parametrize("rows", [8, 1])
def test_calls_become_smaller_where_onnxruntime_runs_out_of_memory(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    runtime = Runtime()
    opened = pretend(monkeypatch, runtime, rows)
    bundle = load_bundle(tiny_bundle)
    encoder = OnnxRuntimeEncoder(bundle, "cuda")
    np.testing.assert_array_equal(encoder.encode_fitted(FRAMES, STEPS), expected(bundle, STEPS(np.stack(FRAMES)), rows))
    assert encoder.fixed_batch == rows
    assert encoder.reason == f"asked for; the GPU's memory ran out, so calls are of {rows} rows"
    assert all(settings["enable_cuda_graph"] == "1" for settings in opened)  # recorded again, not given up
    assert runtime.used == rows * (2 * SIDE * SIDE + 4 * 3 * SIDE * SIDE + 4 * WIDTH)  # of the larger calls nothing
    count = len(opened)
    encoder.encode_fitted(FRAMES, STEPS)
    assert len(opened) == count


def test_calls_become_smaller_where_a_buffer_does_not_fit(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 16 rows of pixel_values and embeddings fit beside two times 16 pictures, 32 do not.
    runtime = Runtime(memory=20 * (2 * SIDE * SIDE + 4 * 3 * SIDE * SIDE + 4 * WIDTH))
    pretend(monkeypatch, runtime)
    bundle = load_bundle(tiny_bundle)
    encoder = OnnxRuntimeEncoder(bundle, "cuda")
    np.testing.assert_array_equal(encoder.encode_fitted(FRAMES, STEPS), expected(bundle, STEPS(np.stack(FRAMES)), 16))
    assert encoder.fixed_batch == 16


def test_a_model_of_which_not_one_row_fits(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Runtime(memory=100))
    with pytest.raises(RunError, match=r"failed on a batch of 1 on cuda:0 \(Pretended GPU\): CUDA: out of memory"):
        OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cuda")


def test_a_graph_that_cannot_be_recorded_is_told(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: dict[str, str]) -> None:
        if "enable_cuda_graph" in settings:
            raise BundleError("cannot be loaded") from RuntimeError("This session cannot use the graph capture feature")

    opened = pretend(monkeypatch, Runtime(), refuse=refuse)
    bundle = load_bundle(tiny_bundle)
    encoder = OnnxRuntimeEncoder(bundle, "cuda")
    encoder.fixed_batch = 8
    np.testing.assert_array_equal(encoder.encode_images(PIXELS), expected(bundle, PIXELS, 8))
    assert encoder.reason == (
        "asked for; no CUDA graph could be recorded: This session cannot use the graph capture feature"
    )
    encoder.fixed_batch = 4  # asked once
    encoder.encode_images(PIXELS)
    assert ["enable_cuda_graph" in settings for settings in opened] == [True, False, False, False]


def test_a_file_that_cannot_be_run_at_all_is_no_matter_of_graphs(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: dict[str, str]) -> None:
        raise BundleError("image_encoder.onnx cannot be loaded")

    pretend(monkeypatch, Runtime(), refuse=refuse)
    with pytest.raises(BundleError, match=r"^image_encoder\.onnx cannot be loaded$"):
        OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cuda")


def test_a_failure_leaves_nothing_under_way(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    pretend(monkeypatch, runtime)
    bundle = load_bundle(tiny_bundle)
    encoder = OnnxRuntimeEncoder(bundle, "cuda")
    encoder.fixed_batch = 4
    monkeypatch.setattr(runtime, "cudaEventSynchronize", lambda event: 101)
    with pytest.raises(RunError, match="invalid device ordinal"):
        encoder.encode_images(PIXELS)
    monkeypatch.undo()
    assert runtime.used == 0
    pretend(monkeypatch, runtime)
    np.testing.assert_array_equal(encoder.encode_images(PIXELS), expected(bundle, PIXELS, 4))


def test_cuda_that_does_not_start_is_an_error_or_a_reason(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(number: int) -> Any:
        raise DeviceError("libcudnn.so.9 cannot be loaded")

    pretend(monkeypatch, Runtime())
    monkeypatch.setattr(encoder_module, "start_cuda", start)
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(DeviceError, match=r"libcudnn\.so\.9"):
        OnnxRuntimeEncoder(bundle, "cuda:0")
    encoder = OnnxRuntimeEncoder(bundle, "auto")
    assert (encoder.device, encoder.gpu, encoder.takes_fitted) == ("cpu", None, False)
    assert encoder.reason == "CUDA did not start: libcudnn.so.9 cannot be loaded"


def test_the_number_of_the_gpu_reaches_onnxruntime(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def start(number: int) -> Any:
        started.append(number)
        return PretendedGpu(runtime, number)

    runtime = Runtime(gpus=4)
    opened = pretend(monkeypatch, runtime)
    monkeypatch.setattr(encoder_module, "start_cuda", start)
    monkeypatch.setattr(encoder_module, "gpu_of", lambda device: Gpu(int(device[-1]), "Pretended GPU"))
    encoder = OnnxRuntimeEncoder(load_bundle(tiny_bundle), "cuda:3")
    encoder.encode_texts(np.ones((1, CONTEXT), np.int64))
    assert (started, encoder.gpu) == ([3], Gpu(3, "Pretended GPU"))
    assert [settings["device_id"] for settings in opened] == ["3", "3"]
    # So do frames that are decoded on it.
    decoders: list[int] = []
    monkeypatch.setattr("cxrzero.images.nvjpeg2000.GpuFrames", decoders.append)
    Screener(tiny_bundle, device="cuda:3", backend="onnxruntime", cache=False, gpu_decode=True)
    assert decoders == [3]


def test_a_run_names_the_card_in_summary_and_record(
    tiny_bundle: Path, png: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, out = png("films/a.png").parent, tmp_path / "out.csv"
    options = ["--model", str(tiny_bundle), "--backend", "onnxruntime", "--no-cache", "--out", str(out), "--overwrite"]
    tables, records = [], []
    for device in ("cpu", "cuda:0"):
        if device != "cpu":
            pretend(monkeypatch, Runtime())
        result = CliRunner().invoke(app, ["predict", str(films), *options, "--device", device])
        assert result.exit_code == 0, result.output
        tables.append(out.read_text(encoding="utf-8"))
        records.append(json.loads(out.with_suffix(".run.json").read_text(encoding="utf-8")))
    assert " on cuda:0 (Pretended GPU) in fp32 (asked for)" in " ".join(result.output.split())
    assert tables[0] == tables[1]  # to the digits that a table has
    assert [(record["device"], record["gpu"]) for record in records] == [
        ("cpu", None),
        ("cuda", "cuda:0 (Pretended GPU)"),
    ]


def test_a_model_that_scores_by_attention_gives_what_the_cpu_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(write_scorer_bundle(tmp_path / "b", dtype="float16"))
    input_ids = RNG.integers(1, 200, (5, CONTEXT))

    def answers(encoder: OnnxRuntimeEncoder) -> list[np.ndarray]:
        films, texts = encoder.encode_images(PIXELS), encoder.encode_texts(input_ids)
        fitted = encoder.encode_fitted(FRAMES, STEPS)
        return [films, fitted, texts, encoder.score(films, texts), encoder.attend(films, texts)]

    on_cpu = answers(OnnxRuntimeEncoder(bundle, "cpu"))
    pretend(monkeypatch, Runtime())
    gpu = OnnxRuntimeEncoder(bundle, "cuda")
    gpu.fixed_batch = 8
    for ours, theirs in zip(answers(gpu), on_cpu, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert on_cpu[0].shape == (len(PIXELS), 12)
