"""The GPUs that CUDA shows, asked of NVIDIA's driver: this needs none of CUDA's libraries and no framework.

They are counted from 0 in CUDA's order, those that CUDA_VISIBLE_DEVICES hides left out.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any

from cxrzero.choices import Device, gpu_number
from cxrzero.display.counts import counted
from cxrzero.errors import DeviceError

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card as CUDA shows it, such as 0 and "NVIDIA H100 80GB HBM3"."""

    number: int
    name: str

    def __str__(self) -> str:
        return f"cuda:{self.number} ({self.name})"


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use, at least one.

    Raises:
        DeviceError: there is no driver or no usable GPU; the message says which, for the user.
    """
    driver = _driver()
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise DeviceError(f"the NVIDIA driver finds no usable GPU{_hidden()}")
    return tuple(Gpu(number, _name(driver, number)) for number in range(count.value))


def gpu_of(device: Device) -> Gpu:
    """The GPU that "cuda" or "cuda:N" asks for; of "auto" the first.

    Raises:
        DeviceError: there is none of that number, or none at all.
    """
    gpus, number = find_gpus(), gpu_number(device)
    if number >= len(gpus):
        there = "cuda:0" if len(gpus) == 1 else f"cuda:0 to cuda:{len(gpus) - 1}"
        raise DeviceError(f"there is no {device}: CUDA shows {counted(len(gpus), 'GPU')}, {there}{_hidden()}")
    return gpus[number]


def refused(device: Device, obstacle: DeviceError) -> DeviceError:
    """The error for a device that was asked for: what is in the way, and what to do."""
    why = obstacle.obstacle
    return DeviceError(f"--device {device} cannot run here: {why}; use --device cpu or auto", why)


def _driver() -> Any:
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        raise DeviceError("no NVIDIA driver was found") from None


def _name(driver: Any, number: int) -> str:
    device, name = ctypes.c_int(0), ctypes.create_string_buffer(MAX_NAME)
    found = driver.cuDeviceGet(ctypes.byref(device), number) or driver.cuDeviceGetName(name, MAX_NAME, device)
    return "unknown GPU" if found != 0 else name.value.decode(errors="replace")


def _hidden() -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if chosen is None else f" (CUDA_VISIBLE_DEVICES is {chosen!r})"
