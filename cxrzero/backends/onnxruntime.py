"""ONNX Runtime on CPU or CUDA.

The provider that really runs is compared with the one asked for. ONNX Runtime itself falls back to the CPU with red
text on standard error; here that is either an error (`device="cuda"`) or a stated choice (`device="auto"`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cxrzero.backends.base import (
    CUDA_BATCH,
    STREAMS,
    BundleEncoder,
    Tower,
    cpu_count,
    first_line,
    ran_out_of_memory,
)
from cxrzero.backends.calls import Rows
from cxrzero.backends.cudart import Cuda, Stream, load_runtime
from cxrzero.backends.gpus import gpu_of, refused
from cxrzero.backends.in_calls import Run
from cxrzero.backends.ort_cuda import ImageCalls
from cxrzero.backends.ort_install import (
    check_installation,
    cuda_version,
    library_name,
    load_cuda_libraries,
    without_cuda,
)
from cxrzero.backends.ort_session import (
    PROVIDERS,
    TowerSession,
    cuda_provider,
    open_session,
    open_tower,
    prelude_options,
    quiet_options,
)
from cxrzero.backends.precision import choose_precision
from cxrzero.backends.prelude import FITTED, PIXEL_VALUES, prelude
from cxrzero.choices import Device, Precision, gpu_number
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import Bundle
from cxrzero.model.values import ValueSteps

onnxruntime.disable_telemetry_events()  # Windows' own log of events, which no variable turns off

# What the first axis of an encoder is called, which its calls on CUDA have fixed.
BATCH_AXIS = "N"


class OnnxRuntimeEncoder(BundleEncoder):
    """The graphs of a bundle as ONNX Runtime sessions; see `cxrzero.backends.Encoder`.

    On CUDA images have calls of their own, `cxrzero.backends.ort_cuda`; texts and patches are few.

    Args:
        device: "cuda" and "cuda:N" must run on that GPU; "auto" takes CUDA where it works, else the CPU, and says why.
        threads: CPU threads of one encoder call; None leaves the choice to ONNX Runtime (physical cores).

    Raises:
        ConfigError: the precision is not offered.
        DeviceError: CUDA was asked for and cannot run.
        BundleError: a file is not an ONNX model with the inputs and outputs of the contract.
    """

    least_batch = 2  # a single row is multiplied as a vector, whose last digit may differ from that of a matrix

    def __init__(
        self, bundle: Bundle, device: Device = "auto", precision: Precision = "fp32", threads: int | None = None
    ) -> None:
        check_installation()
        super().__init__(bundle, threads)
        self.backend = f"onnxruntime {onnxruntime.__version__}"
        self.device, device_reason = choose_device(device)
        if self.device == "cuda":
            try:
                self._cuda = start_cuda(gpu_number(device))
            except DeviceError as error:
                if device != "auto":
                    raise
                self.device, device_reason = "cpu", f"CUDA did not start: {error}"
        if self.device == "cuda":
            self.gpu, self.fixed_batch, self.takes_fitted = gpu_of(device), CUDA_BATCH, True
            self._cuda_thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
            self._calls: ImageCalls | None = None
            self._is_recording = True  # CUDA graphs
        self.precision, why = choose_precision(precision, "onnxruntime", self.device, bundle)
        self.reason = f"{device_reason}; {why}" if why else device_reason
        if self.device == "cuda":
            self._cuda_thread.submit(self._prepare).result()

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.device == "cpu":
            return super().encode_images(pixel_values)
        return self._cuda_thread.submit(self._encode_on_cuda, pixel_values, None).result()

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: ValueSteps) -> npt.NDArray[np.float32]:
        if self.device == "cpu":
            return super().encode_fitted(frames, steps)
        return self._cuda_thread.submit(self._encode_on_cuda, frames, steps).result()

    def _prepare(self) -> None:
        """Record the calls before anything decodes: while a graph is recorded, no other thread may ask for memory."""

        def nothing(size: int) -> npt.NDArray[np.float32]:
            self._calls_of(size)
            return np.empty((0, *self._bundle.image_shape), np.float32)

        self._until_it_fits(self.image, 0, nothing, give_back=self._close_calls)

    def _encode_on_cuda(self, rows: Rows, steps: ValueSteps | None) -> npt.NDArray[np.float32]:
        """In the thread of CUDA."""
        return self._until_it_fits(
            self.image, len(rows), lambda size: self._calls_of(size)(rows, steps), give_back=self._close_calls
        )

    def _calls_of(self, size: int) -> ImageCalls:
        if self._calls is None or self._calls.size != size:
            self._close_calls()
            self._calls = self._open_calls(size)
        return self._calls

    def _close_calls(self) -> None:
        if self._calls is not None:
            self._calls.close()
            self._calls = None

    def _open_calls(self, size: int) -> ImageCalls:
        """With a CUDA graph; where none can be recorded without one, which is said."""
        if not self._is_recording:
            return self._image_calls(size, graph=False)
        try:
            return self._image_calls(size, graph=True)
        except Exception as error:  # ONNX Runtime's own, or made of it
            if ran_out_of_memory(error):
                raise
            refusal = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        calls = self._image_calls(size, graph=False)  # or the file cannot be run at all
        self._is_recording = False
        self._remark("graph", f"no CUDA graph could be recorded: {refusal}")
        return calls

    def _image_calls(self, size: int, *, graph: bool) -> ImageCalls:
        def open_encoder(stream: Stream) -> TowerSession:
            options = quiet_options()
            options.use_deterministic_compute = True
            options.add_free_dimension_override_by_name(BATCH_AXIS, size)
            provider = cuda_provider(self._cuda.number, stream.handle, graph=graph)
            return open_tower(self._bundle.file(self._file(self.image)), self.image, provider, options)

        def open_prelude(model: bytes, stream: Stream) -> onnxruntime.InferenceSession:
            return open_session(model, cuda_provider(self._cuda.number, stream.handle), prelude_options())

        shape = (size, 3, *self._bundle.image_size)
        return ImageCalls(self._cuda, shape, self._bundle.image_shape, open_encoder, open_prelude)

    def _open(self, tower: Tower, path: Path) -> Run:
        provider = cuda_provider(self._cuda.number) if self.device == "cuda" else (PROVIDERS["cpu"], {})
        run: Run = open_tower(path, tower, provider, self._options(tower))
        if self._streams(tower) == 1:
            return run
        return functools.partial(_side_by_side, run, ThreadPoolExecutor(STREAMS - 1), self.least_batch)

    def _streams(self, tower: Tower) -> int:
        return min(STREAMS, self._threads or cpu_count()) if tower is self.image and self.device == "cpu" else 1

    def _options(self, tower: Tower) -> onnxruntime.SessionOptions:
        options = quiet_options()
        if self.device == "cpu" and self.precision == "fp16":
            # ONNX Runtime 1.31's last round of optimisation of half precision ends the process on a CPU.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        # Without VNNI (AVX2, the first AVX-512) pairs of u8·s8 products are summed in 16 bits: the largest come out as
        # half of what they are. With this the weights become u8 there, whose sums are exact.
        options.add_session_config_entry("session.x64quantprecision", "1")
        # Waiting encoder threads must not spin on the cores that the decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        streams = self._streams(tower)
        if streams > 1:
            # A session's pool holds one thread less than this; each call brings its own.
            options.intra_op_num_threads = (self._threads or cpu_count()) - streams + 1
        elif self._threads:
            options.intra_op_num_threads = self._threads
        return options


def _side_by_side(run: Run, helpers: ThreadPoolExecutor, least: int, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Parts of at least `least` rows at once; N rows → N embeddings in their order."""
    parts = np.array_split(rows, max(1, min(STREAMS, len(rows) // least)))
    others = [helpers.submit(run, part) for part in parts[1:]]
    return np.concatenate([run(parts[0]), *(other.result() for other in others)])


def choose_device(device: Device) -> tuple[str, str]:
    """Choose where ONNX Runtime runs, "cpu" or "cuda", and say why there.

    Raises:
        DeviceError: "cuda" or "cuda:N" was asked for and cannot run.
    """
    if device == "cpu":
        return "cpu", "asked for"
    try:
        gpu_of(device)
        if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
            raise DeviceError(without_cuda())
    except DeviceError as obstacle:
        if device != "auto":
            raise refused(device, obstacle) from obstacle
        return "cpu", str(obstacle)
    return "cuda", "an NVIDIA GPU was found" if device == "auto" else "asked for"


def start_cuda(number: int) -> Cuda:
    """Load CUDA and let a GPU compute one pixel: only that tells whether it really runs, and without red text.

    Raises:
        DeviceError: it does not.
    """
    load_cuda_libraries()
    try:
        model = prelude(ValueSteps(np.zeros((1, 256), np.float32)), (1, 1, 1))
        session = open_session(model, cuda_provider(number), prelude_options())
        session.run([PIXEL_VALUES], {FITTED: np.zeros((1, 1, 1, 1), np.uint8)})
        return Cuda(load_runtime(library_name("cudart", cuda_version())), number)
    except DeviceError:
        raise
    except Exception as error:  # onnxruntime's own errors share no base class
        raise DeviceError(f"CUDA does not run on cuda:{number}: {first_line(error)}") from error
