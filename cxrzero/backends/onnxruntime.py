"""ONNX Runtime on CPU or CUDA.

The provider that really runs is compared with the one asked for. ONNX Runtime itself falls back to the CPU with red
text on standard error; here that is either an error (`device="cuda"`) or a stated choice (`device="auto"`).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cxrzero.backends import Device
from cxrzero.bundle import IMAGE_ENCODER, TEXT_ENCODER, Bundle
from cxrzero.errors import BundleError, DeviceError, RunError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

FATAL = 4  # onnxruntime's severity levels: 0 verbose … 4 fatal
WARNING = 2


class OnnxRuntimeEncoder:
    """Both towers of a bundle as ONNX Runtime sessions; see `cxrzero.backends.Encoder`.

    Args:
        device: "cuda" must run on CUDA; "auto" takes CUDA where it works, else the CPU, and says why.
        threads: CPU threads of one encoder call; None leaves the choice to ONNX Runtime (physical cores).

    Raises:
        DeviceError: CUDA was asked for and cannot run.
        BundleError: a file is not an ONNX model with the inputs and outputs of the contract.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int | None = None) -> None:
        check_installation()
        self.backend = f"onnxruntime {onnxruntime.__version__}"
        self._bundle = bundle
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self.device, self.reason = _choose_device(device)
        if self.device == "cuda":
            _load_cuda_libraries()
            try:
                self._session(IMAGE_ENCODER)  # only opening it tells whether CUDA really starts
            except DeviceError as error:
                if device != "auto":
                    raise
                self.device, self.reason = "cpu", f"CUDA did not start: {error}"

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._run(IMAGE_ENCODER, "image_embeds", "pixel_values", pixel_values)

    def encode_texts(self, input_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._run(TEXT_ENCODER, "text_embeds", "input_ids", input_ids)

    def _run(self, file_name: str, output: str, name: str, value: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        session = self._session(file_name)
        try:
            embeds = session.run([output], {name: value})[0]
        except Exception as error:  # onnxruntime's own errors share no base class
            raise RunError(
                f"the model {self._bundle.name} failed on a batch of {len(value)} on {self.device}: "
                f"{_first_line(error)}; a smaller --batch-size needs less memory"
            ) from error
        if embeds.shape != (len(value), self._bundle.embed_dim) or not np.isfinite(embeds).all():
            raise BundleError(f"{self._bundle.path}: {output} is not finite with shape (N, {self._bundle.embed_dim})")
        return np.asarray(embeds, np.float32)

    def _session(self, file_name: str) -> onnxruntime.InferenceSession:
        """Opened at first use: where the cache knows everything, a large model need not be loaded."""
        if file_name not in self._sessions:
            self._sessions[file_name] = self._open(file_name)
        return self._sessions[file_name]

    def _open(self, file_name: str) -> onnxruntime.InferenceSession:
        path = self._bundle.file(file_name)
        provider = PROVIDERS[self.device]
        session = _open_session(path, [provider], self._session_options())
        running = session.get_providers()[0]
        if running != provider:
            raise DeviceError(
                f"{provider} was asked for but {running} would run; install CUDA and cuDNN libraries that match "
                f"onnxruntime-gpu {onnxruntime.__version__} (for example: pip install 'onnxruntime-gpu[cuda,cudnn]')"
            )
        inputs, outputs = ({item.name for item in side} for side in (session.get_inputs(), session.get_outputs()))
        wants = ("pixel_values", "image_embeds") if file_name == IMAGE_ENCODER else ("input_ids", "text_embeds")
        if inputs != {wants[0]} or wants[1] not in outputs:
            raise BundleError(f"{path} must have the input {wants[0]} and the output {wants[1]}")
        return session

    def _session_options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        # Waiting encoder threads must not spin on the cores that the decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._threads:
            options.intra_op_num_threads = self._threads
        return options


def check_installation() -> None:
    """Refuse an environment with both ONNX Runtime packages, which overwrite each other's files.

    Raises:
        RunError: both are installed.
    """
    found = []
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(package)
    if len(found) == 2:
        raise RunError(
            "onnxruntime and onnxruntime-gpu are both installed and break each other; run: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )


def _choose_device(device: Device) -> tuple[str, str]:
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
    path: Path, providers: list[str], options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    # Libraries of an unusable provider are reported through the default logger; the caller compares providers instead.
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's own errors share no base class
        raise BundleError(f"{path} cannot be loaded by onnxruntime: {_first_line(error)}") from error
    finally:
        onnxruntime.set_default_logger_severity(WARNING)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
