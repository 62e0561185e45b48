"""Torch on CPU or CUDA, from the bundle's own ONNX files (see `cxrzero.backends.torch.graph`)."""

from __future__ import annotations

import platform
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cxrzero.backends.base import CUDA_BATCH, BundleEncoder, Tower, check_names
from cxrzero.backends.calls import Rows
from cxrzero.backends.gpus import Gpu, gpu_of, refused
from cxrzero.backends.in_calls import Run
from cxrzero.backends.precision import choose_precision
from cxrzero.backends.torch.cuda import Cuda
from cxrzero.backends.torch.exactly import exactly
from cxrzero.backends.torch.fit import Fitter
from cxrzero.backends.torch.graph import TorchGraph
from cxrzero.backends.torch.tower import GpuTower
from cxrzero.choices import Device, Precision
from cxrzero.errors import DeviceError
from cxrzero.model.bundle import Bundle
from cxrzero.model.geometry import Geometry
from cxrzero.model.values import ValueSteps

# Torch orders its sums by the number of rows, so that every call has the same.
CPU_BATCH = 8
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# On the GPU: calls have one set of buffers, one thread records at a time, and settings are the whole process's.
ONE_AT_A_TIME = threading.Lock()


class TorchEncoder(BundleEncoder):
    """The graphs of a bundle in torch; see `cxrzero.backends.Encoder`.

    On a CPU bf16 is torch's autocast, operator by operator. On CUDA each tower is a program that is recorded once, and
    bf16 and fp16 are programs in half precision; both from the bundle's fp32 file.

    Args:
        device: "cuda" and "cuda:N" must run on that GPU; "auto" takes the first one where torch finds it.
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
        self.backend = f"torch {torch.__version__}"
        self.gpu, place = _choose_gpu(device)
        self.device = "cpu" if self.gpu is None else "cuda"
        self.takes_fitted = self.takes_films = self.gpu is not None
        self.fixed_batch = CPU_BATCH if self.gpu is None else CUDA_BATCH
        self._cuda = None if self.gpu is None else Cuda(self.gpu.number)
        self._gpu_towers: dict[Tower, GpuTower] = {}
        self._fitters: dict[Geometry, Fitter] = {}
        # Asked for by name, bf16 is computed in software where it must be; "auto" wants what is faster.
        slow = obstacle("bf16") if self.device == "cpu" else None
        obstacles = {"bf16": slow} if slow and precision == "auto" else {}
        self.precision, why = choose_precision(precision, "torch", self.device, bundle, obstacles)
        why = slow if slow and self.precision == "bf16" else why
        self.reason = f"{place}; {why}" if why else place
        if threads:
            torch.set_num_threads(threads)

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: ValueSteps) -> npt.NDArray[np.float32]:
        if self._cuda is None:
            return super().encode_fitted(frames, steps)
        return self._encode_on_gpu(self._cuda, self.image, frames, steps)

    def encode_films(
        self, films: Sequence[npt.NDArray[np.uint8]], geometry: Geometry, steps: ValueSteps
    ) -> npt.NDArray[np.float32]:
        if self._cuda is None:
            return super().encode_films(films, geometry, steps)
        return self._encode_on_gpu(self._cuda, self.image, films, steps, geometry)

    def _encode(self, tower: Tower, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if self._cuda is not None:
            return self._encode_on_gpu(self._cuda, tower, rows, None)
        with exactly():  # for the whole process, so around all calls of a batch
            return super()._encode(tower, rows)

    def _score(
        self, tower: Tower, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        if self._cuda is None:
            with exactly():
                return super()._score(tower, films, texts)
        with ONE_AT_A_TIME, self._cuda.current(), exactly():
            return super()._score(tower, films, texts)

    def _open(self, tower: Tower, path: Path) -> Run:
        """Operator by operator: on a GPU the scorer only, whose calls differ in what is asked."""
        dtype = DTYPES[self.precision] if tower is self.image else torch.float32
        device = torch.device("cpu") if self._cuda is None else self._cuda.device
        graph = TorchGraph(path, tower.output, device, dtype)
        check_names(path, tower, graph.inputs, {tower.output})

        def run(*rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
            inputs = {name: torch.from_numpy(each).to(device) for name, each in zip(tower.inputs, rows, strict=True)}
            with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
                return graph.run(inputs).float().cpu().numpy()

        return run

    def _encode_on_gpu(
        self, cuda: Cuda, tower: Tower, rows: Rows, steps: ValueSteps | None, geometry: Geometry | None = None
    ) -> npt.NDArray[np.float32]:
        def encode(size: int) -> npt.NDArray[Any]:
            fitted = rows[0] if geometry is None else np.empty(geometry.fitted_size or (), np.uint8)
            calls = self._gpu_tower(cuda, tower).calls(fitted, steps, size)
            return calls(rows, None if geometry is None else self._fitter(cuda, geometry))

        def give_back() -> None:
            for each in self._gpu_towers.values():
                each.close()
            self._fitters.clear()
            cuda.release()

        with ONE_AT_A_TIME, cuda.current(), exactly():  # without cuDNN, as its bits were tested on a card
            embeds = self._until_it_fits(tower, len(rows), encode, give_back)
        self._tell_refusal(tower)
        return embeds

    def _gpu_tower(self, cuda: Cuda, tower: Tower) -> GpuTower:
        if tower not in self._gpu_towers:
            dtype = DTYPES[self.precision] if tower is self.image else torch.float32
            self._gpu_towers[tower] = GpuTower(cuda, self._bundle.file(self._file(tower)), tower, dtype)
        return self._gpu_towers[tower]

    def _fitter(self, cuda: Cuda, geometry: Geometry) -> Fitter:
        if geometry not in self._fitters:
            self._fitters[geometry] = Fitter(geometry, cuda.device)
        return self._fitters[geometry]

    def _tell_refusal(self, tower: Tower) -> None:
        refusal = self._gpu_towers[tower].refusal
        if refusal is not None and tower.file not in self._remarks:
            self._remark(tower.file, f"no CUDA graph of {tower.file} could be recorded: {refusal}")


def obstacle(precision: str) -> str | None:
    """Why torch gains nothing from a precision on this processor; None where it does."""
    has_mkldnn = torch.backends.mkldnn.is_available()
    # mkldnn counts the first AVX-512, where it converts: five times slower than fp32.
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    has_bf16 = has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision == "bf16" and not (has_bf16 and (torch.cpu._is_avx512_bf16_supported() or not is_x86)):
        return "this processor does not compute bf16: torch does so in software, slower than fp32"
    return None


def _choose_gpu(device: Device) -> tuple[Gpu | None, str]:
    """The GPU to run on, None for the CPU, and why."""
    if device == "cpu":
        return None, "asked for"
    try:
        if not _finds_cuda():
            raise DeviceError("torch finds no usable GPU")
        gpu = gpu_of(device)
    except DeviceError as obstacle:
        if device != "auto":
            raise refused(device, obstacle) from obstacle
        return None, str(obstacle)
    return gpu, "torch found an NVIDIA GPU" if device == "auto" else "asked for"


def _finds_cuda() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about drivers that do not fit; the answer says enough
        return torch.cuda.is_available()
