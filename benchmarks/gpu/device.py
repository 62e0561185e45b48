"""The card: its name and driver, its memory in use, and what its data sheet promises. By the driver's own library."""

from __future__ import annotations

import ctypes
from typing import Any

# Dense TFLOP/s without sparsity: (fp32 outside tensor cores, fp16 and bf16 in them). NVIDIA's data sheets.
PEAKS = {"NVIDIA H100 80GB HBM3": (67, 989), "NVIDIA H200": (67, 989), "NVIDIA L4": (30.3, 121), "Tesla T4": (8.1, 65)}
MIB = 2**20


class Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Card:
    """The first GPU.

    Raises:
        OSError: there is no driver, or it does not answer.
    """

    def __init__(self) -> None:
        self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self._check(self._nvml.nvmlInit_v2())
        self._handle = ctypes.c_void_p()
        self._check(self._nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._handle)))

    @property
    def name(self) -> str:
        return self._text(self._nvml.nvmlDeviceGetName, self._handle)

    @property
    def driver(self) -> str:
        return self._text(self._nvml.nvmlSystemGetDriverVersion)

    @property
    def total_mb(self) -> int:
        return int(self._memory().total // MIB)

    @property
    def used_mb(self) -> int:
        """Of all processes."""
        return int(self._memory().used // MIB)

    def _memory(self) -> Memory:
        memory = Memory()
        self._check(self._nvml.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)))
        return memory

    def _text(self, function: Any, *before: Any) -> str:
        buffer = ctypes.create_string_buffer(96)
        self._check(function(*before, buffer, ctypes.c_uint(len(buffer))))
        return buffer.value.decode()

    @staticmethod
    def _check(code: int) -> None:
        if code:
            raise OSError(f"the NVIDIA driver's library answers with error {code}")


def card(device: str) -> Card | None:
    """The GPU that is measured; None in a rehearsal on the CPU."""
    return Card() if device == "cuda" else None


def share_of_peak(tflops: float, precision: str, gpu: Card | None) -> float | None:
    """Of the data sheet's peak; None for a card that is not in PEAKS."""
    peaks = PEAKS.get(gpu.name) if gpu else None
    return None if peaks is None else tflops / peaks[precision != "fp32"]
