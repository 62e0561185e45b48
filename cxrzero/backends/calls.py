"""Calls of one size on a GPU, two of them under way: while one computes, the rows of the next are written and copied.

Each of the two has buffers of its own, which nobody touches between `start` and `finish`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.backends.base import CUDA_CALLS

Rows = Sequence[npt.NDArray[Any]] | npt.NDArray[Any]


def encode_in_calls(
    rows: Rows, size: int, start: Callable[[int, Rows], None], finish: Callable[[int], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """Encode all rows; returns (N, …), in their order.

    Args:
        start: takes the number of a call, 0 or 1, and at most `size` rows; queues its work and does not wait.
        finish: takes the number of a call, waits for it, and returns a copy of its (size, …) embeddings.
    """
    firsts = range(0, len(rows), size)
    parts = []
    for index, first in enumerate(firsts):
        if index >= CUDA_CALLS:
            parts.append(finish(index % CUDA_CALLS))
        start(index % CUDA_CALLS, rows[first : first + size])
    parts += [finish(index % CUDA_CALLS) for index in range(len(firsts))[-CUDA_CALLS:]]
    return np.concatenate(parts)[: len(rows)]


def fill(places: npt.NDArray[Any], rows: Rows) -> None:
    """Write rows where the GPU fetches them, and the first one into the places that are left."""
    for place, row in zip(places, rows, strict=False):
        place[...] = row
    places[len(rows) :] = places[0]
