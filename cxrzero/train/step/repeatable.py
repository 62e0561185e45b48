"""On a GPU, too, a run gives the same bits each time: sums have one order, and fp32 is float32."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cxrzero.backends.torch.exactly import exactly


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it, steps on a GPU can be repeated bit for bit; a CPU needs nothing for that.

    Torch raises RuntimeError at an operation for which it knows no fixed order.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing is read that was not written
    torch.use_deterministic_algorithms(True)
    try:
        with exactly():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled
