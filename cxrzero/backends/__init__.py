"""Encoders that run a bundle: one file each, all behind the `Encoder` protocol."""

from __future__ import annotations

import os
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)


class Encoder(Protocol):
    """Runs the two towers of one bundle.

    Attributes:
        backend: e.g. "onnxruntime 1.22.0".
        device: where it really runs, "cpu" or "cuda".
        reason: why that device, in words for the user.
    """

    backend: str
    device: str
    reason: str

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N, 3, H, W) float32 → image_embeds (N, D) float32, rows of length 1."""

    def encode_texts(self, input_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(N, L) int64 → text_embeds (N, D) float32, rows of length 1."""


def cpu_count() -> int:
    """Cores that this process may use (its affinity, which containers and job schedulers set)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
