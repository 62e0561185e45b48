"""Torch on CPU or CUDA, from the bundle's own ONNX files (see `cxrzero.backends.torch.graph`)."""

from __future__ import annotations

import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cxrzero.backends.base import CUDA_BATCH, IMAGE, BundleEncoder, Run, Tower, check_names
from cxrzero.backends.precision import choose_precision
from cxrzero.backends.torch.graph import TorchGraph
from cxrzero.choices import Device, Precision
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import Bundle

# Torch orders its sums by the number of rows, so that every call has the same.
CPU_BATCH = 8
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEncoder(BundleEncoder):
    """Both towers of a bundle in torch; see `cxrzero.backends.Encoder`.

    bf16 and fp16 are torch's autocast: products in the short format, norms and softmax in fp32.

    Args:
        device: "cuda" must run on CUDA; "auto" takes CUDA where torch finds it.
        threads: CPU threads, set for the whole process; None leaves torch's.

    Raises:
        ConfigError: the precision is not offered.
        DeviceError: CUDA was asked for and torch finds none.
        BundleError: a file is not an ONNX model of the contract, or has an operator that is not known.
    """

    runs_variants = False

    def __init__(
        self, bundle: Bundle, device: Device = "auto", precision: Precision = "fp32", threads: int | None = None
    ) -> None:
        super().__init__(bundle, threads)
        self._of_thread = threading.local()
        self.backend = f"torch {torch.__version__}"
        self.device, place = _choose_device(device)
        self.fixed_batch = CUDA_BATCH if self.device == "cuda" else CPU_BATCH
        # Asked for by name, bf16 is computed in software where it must be; "auto" wants what is faster.
        slow = obstacle("bf16") if self.device == "cpu" else None
        obstacles = {"bf16": slow} if slow and precision == "auto" else {}
        self.precision, why = choose_precision(precision, "torch", self.device, bundle, obstacles)
        why = slow if slow and self.precision == "bf16" else why
        self.reason = f"{place}; {why}" if why else place
        if threads:
            torch.set_num_threads(threads)

    def _open(self, tower: Tower, path: Path) -> Run:
        dtype = DTYPES[self.precision] if tower is IMAGE else torch.float32
        graph = TorchGraph(path, tower.output, self.device, dtype)
        check_names(path, tower, graph.inputs, {tower.output})

        on_cuda = self.device == "cuda"
        if on_cuda:
            torch.cuda.synchronize()  # the weights are there before another stream reads them

        def run(rows: np.ndarray) -> np.ndarray:
            with self._own_stream(), torch.autocast(self.device, dtype, enabled=dtype is not torch.float32):
                values = torch.from_numpy(rows)
                # From pinned memory the copy needs no processor and overlaps with another call's arithmetic.
                values = values.pin_memory().to(self.device, non_blocking=True) if on_cuda else values
                return graph(tower.input, values).float().cpu().numpy()  # waits for this stream

        return run

    def _own_stream(self) -> AbstractContextManager[Any]:
        """One for each calling thread, kept: the memory that torch holds ready belongs to a stream."""
        if self.device == "cpu":
            return nullcontext()
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream()
        return torch.cuda.stream(self._of_thread.stream)

    def _encode(self, tower: Tower, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with _exactly():  # for the whole process, so around all calls of a batch
            return super()._encode(tower, rows)


def obstacle(precision: str) -> str | None:
    """Why torch gains nothing from a precision on this processor; None where it does."""
    has_mkldnn = torch.backends.mkldnn.is_available()
    # mkldnn counts the first AVX-512, where it converts: five times slower than fp32.
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    has_bf16 = has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision == "bf16" and not (has_bf16 and (torch.cpu._is_avx512_bf16_supported() or not is_x86)):
        return "this processor does not compute bf16: torch does so in software, slower than fp32"
    return None


def _choose_device(device: Device) -> tuple[str, str]:
    if device == "cpu":
        return "cpu", "asked for"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about drivers that do not fit; the answer says enough
        found = torch.cuda.is_available()
    if found:
        return "cuda", "asked for" if device == "cuda" else "torch found an NVIDIA GPU"
    if device == "cuda":
        raise DeviceError("--device cuda cannot run here: torch finds no usable GPU; use --device cpu or auto")
    return "cpu", "torch finds no usable GPU"


@contextmanager
def _exactly() -> Iterator[None]:
    """fp32 means fp32, not TensorFloat-32, and algorithms that give the same sum every time."""
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("highest")
        stack.enter_context(torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False))
        yield
