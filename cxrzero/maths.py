"""What rooms from the ground up compute and name alike: σ, and arrays of numbers by their type.

On the ground because the image detectors, the scoring rules and the statistics all need it, and none imports another.
"""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
AnyFloats = npt.NDArray[np.floating[Any]]  # whatever precision a model or a network computes in
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@overload
def sigmoid(x: float) -> float: ...
@overload
def sigmoid(x: Floats) -> Floats: ...
def sigmoid(x: float | Floats) -> float | Floats:
    """σ(x) = 1 / (1 + e^−x) without overflow for any x, of one number or of each in an array."""
    if isinstance(x, float):  # by the C library's e^x: NumPy's may differ in the last digit, and intervals are exact
        decay = math.exp(-abs(x))
        return (1.0 if x >= 0 else decay) / (1.0 + decay)
    decays = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, decays) / (1.0 + decays))
