"""Drawn pictures."""

from __future__ import annotations

from typing import Any

import numpy as np


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W) uint8: a bright oval on noise, different for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    oval = np.exp(-((x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.4, 0.4)) ** 2) * 3)
    return (180 * oval + rng.integers(0, 60, size)).astype(np.uint8)
