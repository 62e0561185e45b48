"""ONNX Runtime on CPU or CUDA.

The provider that really runs is compared with the one asked for. ONNX Runtime itself falls back to the CPU with red
text on standard error; here that is either an error (`device="cuda"`) or a stated choice (`device="auto"`).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import mmap
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cxrzero.backends.base import (
    CUDA_BATCH,
    IMAGE,
    STREAMS,
    BundleEncoder,
    Run,
    Tower,
    check_names,
    cpu_count,
    first_line,
)
from cxrzero.backends.onnx_part import part_for
from cxrzero.backends.precision import choose_precision
from cxrzero.choices import Device, Precision
from cxrzero.errors import BundleError, DeviceError, RunError
from cxrzero.files import installed_versions
from cxrzero.model.bundle import Bundle
from cxrzero.model.weights import map_tensors

onnxruntime.disable_telemetry_events()  # Windows' own log of events, which no variable turns off

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# fp32 means fp32, not TensorFloat-32, and the algorithm follows from the shapes, not from a stopwatch.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

# Bytes of a file of schema 1 that is cut down to one output. While it is opened, and no longer, that takes once or
# twice its size more memory, and larger towers have more blocks, of which the last matters less.
MAX_CUT = 2**29

FATAL = 4  # onnxruntime's severity levels: 0 verbose … 4 fatal
WARNING = 2


class OnnxRuntimeEncoder(BundleEncoder):
    """Both towers of a bundle as ONNX Runtime sessions; see `cxrzero.backends.Encoder`.

    Args:
        device: "cuda" must run on CUDA; "auto" takes CUDA where it works, else the CPU, and says why.
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
        self._settle(precision, device_reason)
        if self.device == "cuda":
            _load_cuda_libraries()
            self.fixed_batch = CUDA_BATCH
            try:
                self._tower(IMAGE)  # only opening it tells whether CUDA really starts
            except DeviceError as error:
                if device != "auto":
                    raise
                self.device, self.fixed_batch = "cpu", None
                self._settle(precision, f"CUDA did not start: {error}")

    def _settle(self, precision: Precision, device_reason: str) -> None:
        self.precision, why = choose_precision(precision, "onnxruntime", self.device, self._bundle)
        self.reason = f"{device_reason}; {why}" if why else device_reason

    def _open(self, tower: Tower, path: Path) -> Run:
        provider = PROVIDERS[self.device]
        providers = [(provider, CUDA_OPTIONS if self.device == "cuda" else {})]
        weights = map_tensors(path)
        session = _open_session(path, tower.output, weights, providers, self._options(tower))
        running = session.get_providers()[0]
        if running != provider:
            raise DeviceError(
                f"{provider} was asked for but {running} would run; install CUDA and cuDNN libraries that match "
                f"onnxruntime-gpu {onnxruntime.__version__} (for example: pip install 'onnxruntime-gpu[cuda,cudnn]')"
            )
        inputs, outputs = ({item.name for item in side} for side in (session.get_inputs(), session.get_outputs()))
        check_names(path, tower, inputs, outputs)
        run: Run = _Session(session, tower, weights)
        if self._streams(tower) == 1:
            return run
        return functools.partial(_side_by_side, run, ThreadPoolExecutor(STREAMS - 1), self.least_batch)

    def _streams(self, tower: Tower) -> int:
        return min(STREAMS, self._threads or cpu_count()) if tower is IMAGE and self.device == "cpu" else 1

    def _options(self, tower: Tower) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
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


@dataclass(frozen=True, slots=True)
class _Session:
    """Runs one tower: (N, …) → its output.

    Attributes:
        weights: which the session reads where they are, so they must stay.
    """

    session: onnxruntime.InferenceSession
    tower: Tower
    weights: Mapping[str, npt.NDArray[Any]]

    def __call__(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(self.session.run([self.tower.output], {self.tower.input: rows})[0])


def _side_by_side(run: Run, helpers: ThreadPoolExecutor, least: int, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Parts of at least `least` rows at once; N rows → N embeddings in their order."""
    parts = np.array_split(rows, max(1, min(STREAMS, len(rows) // least)))
    others = [helpers.submit(run, part) for part in parts[1:]]
    return np.concatenate([run(parts[0]), *(other.result() for other in others)])


def check_installation() -> None:
    """Refuse an environment with both ONNX Runtime packages, which overwrite each other's files.

    Raises:
        RunError: both are installed.
    """
    if len(installed_versions(("onnxruntime", "onnxruntime-gpu"))) == 2:
        raise RunError(
            "onnxruntime and onnxruntime-gpu are both installed and break each other; run: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )


def choose_device(device: Device) -> tuple[str, str]:
    """Choose where ONNX Runtime runs, and say why there.

    Raises:
        DeviceError: "cuda" was asked for and cannot run.
    """
    if device == "cpu":
        return "cpu", "asked for"
    obstacle = _cuda_obstacle()
    if obstacle is None:
        return "cuda", "asked for" if device == "cuda" else "an NVIDIA GPU was found"
    if device == "cuda":
        raise DeviceError(f"--device cuda cannot run here: {obstacle}; use --device cpu or auto")
    return "cpu", obstacle


def _cuda_obstacle() -> str | None:
    """Why CUDA cannot run, found out without letting ONNX Runtime print about it; None if nothing is in the way."""
    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        return f"this onnxruntime {onnxruntime.__version__} was built without CUDA (install onnxruntime-gpu)"
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return "no NVIDIA driver was found"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no usable GPU"
    return None


def _load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from their Python packages, where they are installed; the system's are found anyway."""
    with contextlib.redirect_stdout(io.StringIO()):  # what is missing shows when the providers are compared
        onnxruntime.preload_dlls()


def _open_session(
    path: Path,
    output: str,
    weights: Mapping[str, npt.NDArray[Any]],
    providers: list[tuple[str, dict[str, str]]],
    options: onnxruntime.SessionOptions,
) -> onnxruntime.InferenceSession:
    """A session that computes one output of the file."""
    # Libraries of an unusable provider are reported through the default logger; the caller compares providers instead.
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        shared = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), shared)
        # Given as bytes, a graph has no folder in which ONNX Runtime would look for weights.
        model = path.read_bytes() if weights else _part(path, output) or str(path)
        session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's own errors share no base class
        raise BundleError(f"{path} cannot be loaded by onnxruntime: {first_line(error)}") from error
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
    # ONNX Runtime keeps the bytes to open the session again with other providers, which nobody asks for here.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    return session


def _part(path: Path, output: str) -> bytes | None:
    """Cut out of a file of schema 1 what the output needs; None where the whole file is run."""
    if path.stat().st_size > MAX_CUT:
        return None
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        return part_for(view, output)
