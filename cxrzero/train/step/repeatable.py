"""On a GPU, too, a run gives the same bits each time: sums have one order, and fp32 is float32."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from cxrzero.backends.torch.exactly import exactly
from cxrzero.choices import Notify

T = TypeVar("T")
REFUSAL = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it, steps on a GPU can be repeated bit for bit; a CPU needs nothing for that.

    Torch then refuses operations for which it knows no fixed order, see `in_any_order`.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing is read that was not written
    torch.use_deterministic_algorithms(True)
    try:
        with exactly(cudnn=True):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def in_any_order(work: Callable[[], T], notify: Notify) -> T:
    """Do `work`; where torch refuses one of its operations, say so, allow any order from now on, and do it again."""
    try:
        return work()
    except RuntimeError as error:
        refused = REFUSAL.match(str(error))
        if refused is None:
            raise
        torch.use_deterministic_algorithms(False)
        notify(f"This run cannot be repeated bit for bit: {refused[1]} adds in no fixed order on a GPU")
        return work()
