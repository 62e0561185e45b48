"""How ONNX Runtime opens a file of a bundle: its weights, its provider, its options."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cxrzero.backends.base import Tower, check_names, first_line, ran_out_of_memory
from cxrzero.backends.onnx_part import part_for
from cxrzero.errors import BundleError, DeviceError, RunError
from cxrzero.model.weights import map_tensors

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# fp32 means fp32, not TensorFloat-32, and the algorithm follows from the shapes, not from a stopwatch.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

# Bytes of a file of schema 1 that is cut down to one output. While it is opened, and no longer, that takes once or
# twice its size more memory, and larger towers have more blocks, of which the last matters less.
MAX_CUT = 2**29

FATAL = 4  # onnxruntime's severity levels: 0 verbose … 4 fatal
WARNING = 2

Provider = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class TowerSession:
    """Runs one tower: a batch of each of its inputs → its output.

    Attributes:
        weights: which the session reads where they are, so they must stay.
    """

    session: onnxruntime.InferenceSession
    tower: Tower
    weights: Mapping[str, npt.NDArray[Any]]

    def __call__(self, *rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(self.session.run([self.tower.output], dict(zip(self.tower.inputs, rows, strict=True)))[0])


def quiet_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    return options


def prelude_options() -> onnxruntime.SessionOptions:
    """Of the graph of the value steps, which runs as it is written: a product and a sum in one would round once."""
    options = quiet_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def cuda_provider(number: int, stream: int | None = None, *, graph: bool = False) -> Provider:
    """The CUDA provider on a GPU.

    Args:
        stream: CUDA's handle of the one on which all work is queued; None leaves it to ONNX Runtime.
        graph: the work of a run is recorded once and then repeated as a whole.
    """
    settings = {**CUDA_OPTIONS, "device_id": str(number)}
    if stream is not None:
        settings["user_compute_stream"] = str(stream)
    if graph:
        settings["enable_cuda_graph"] = "1"
    return PROVIDERS["cuda"], settings


def open_tower(path: Path, tower: Tower, provider: Provider, options: onnxruntime.SessionOptions) -> TowerSession:
    """A session that computes one output of a bundle's file.

    Raises:
        BundleError: the file is not an ONNX model with the input and output of the contract, or, with a CUDA graph,
            one that cannot be recorded.
        DeviceError: the provider does not start.
        RunError: its weights do not fit into the memory of the GPU.
    """
    weights = map_tensors(path)
    try:
        shared = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), shared)
        # Given as bytes, a graph has no folder in which ONNX Runtime would look for weights.
        model = path.read_bytes() if weights else _part(path, tower.output) or str(path)
        session = open_session(model, provider, options)
    except DeviceError:
        raise
    except Exception as error:  # onnxruntime's own errors share no base class
        if ran_out_of_memory(error):
            raise RunError(f"{path} does not fit into the memory of the device: {first_line(error)}") from error
        raise BundleError(f"{path} cannot be loaded by onnxruntime: {first_line(error)}") from error
    inputs, outputs = ({item.name for item in side} for side in (session.get_inputs(), session.get_outputs()))
    check_names(path, tower, inputs, outputs)
    return TowerSession(session, tower, weights)


def open_session(
    model: bytes | str, provider: Provider, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    """A session that runs where it is asked to.

    Raises:
        DeviceError: the provider does not start.
    """
    # Libraries of an unusable provider are reported through the default logger; here the providers are compared.
    onnxruntime.set_default_logger_severity(FATAL)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
    # ONNX Runtime keeps the bytes to open the session again with other providers, which nobody asks for here.
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None
    running = session.get_providers()[0]
    if running != provider[0]:
        raise DeviceError(
            f"{provider[0]} was asked for but {running} would run; install CUDA and cuDNN libraries that match "
            f"onnxruntime-gpu {onnxruntime.__version__} (for example: pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )
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
