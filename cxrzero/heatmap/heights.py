"""How high a map is, and where."""

from __future__ import annotations

import numpy as np

from cxrzero.maths import Bools, Float32s


def peak_of(found: Float32s) -> tuple[float, float]:
    """(row, column) of the highest element of (h, w); the middle of its top where that is flat, as at an edge."""
    i, j = np.unravel_index(int(found.argmax()), found.shape)
    column, row = found[:, j] == found[i, j], found[i] == found[i, j]
    return _middle(column, int(i)), _middle(row, int(j))


def _middle(is_top: Bools, first: int) -> float:
    ends = np.flatnonzero(~is_top[first:])
    last = first + (int(ends[0]) if len(ends) else len(is_top) - first) - 1
    return (first + last) / 2


def floor_of(found: Float32s) -> float:
    """From where the height of a map counts: 0 where it has both signs, for what is below speaks against the finding;
    else its lowest value."""
    low = float(found.min())
    return 0.0 if low < 0 < found.max() else low


def above_half(found: Float32s) -> Bools:
    """Where (h, w) is above half of its height, see `floor_of`; at least where it is highest."""
    return np.asarray((found > (floor_of(found) + float(found.max())) / 2) | (found == found.max()))
