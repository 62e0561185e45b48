"""The little of CUDA that calls need, through torch: memory, streams, events, recorded work.

A stream is a queue of work on the GPU. An event marks a place in a queue: another stream, or this process, can wait
until the work before it is done. Nothing here waits unless it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], None]


class Event:
    """A mark in a queue; a thread that waits for it sleeps, since the decoders need the processor."""

    def __init__(self) -> None:
        self.mark = torch.cuda.Event(blocking=True)

    def finish(self) -> None:
        """Wait, in this thread, until the work before the mark is done."""
        self.mark.synchronize()


class Stream:
    """A queue of work, first in, first out."""

    def __init__(self, device: torch.device) -> None:
        self.queue = torch.cuda.Stream(device)

    def copy(self, to: Tensor, source: Tensor) -> None:
        """Queue a copy of all numbers of `source`, which must stay as they are until it is done."""
        with torch.cuda.stream(self.queue):
            to.copy_(source, non_blocking=True)

    def run(self, work: Work) -> None:
        with torch.cuda.stream(self.queue):
            work()

    def mark(self, event: Event) -> None:
        """Move the event here, behind all that is queued."""
        event.mark.record(self.queue)

    def wait_for(self, event: Event) -> None:
        """Queue nothing more before the work that the event marks is done."""
        self.queue.wait_event(event.mark)

    def finish(self) -> None:
        """Wait, in this thread, until nothing is queued."""
        self.queue.synchronize()


class Cuda:
    """One GPU."""

    def __init__(self, number: int) -> None:
        self.device = torch.device("cuda", number)

    def current(self) -> AbstractContextManager[Any]:
        """Within it, torch means this GPU in this thread."""
        return torch.cuda.device(self.device)

    @cached_property
    def copies(self) -> Stream:
        """The stream of what is copied to the GPU."""
        return Stream(self.device)

    @cached_property
    def arithmetic(self) -> Stream:
        """The stream on which all calls compute: libraries keep memory for each stream that they have seen."""
        return Stream(self.device)

    def event(self) -> Event:
        return Event()

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """On the GPU, all zero, when this returns."""
        found = torch.zeros(shape, dtype=dtype, device=self.device)
        torch.cuda.synchronize(self.device)
        return found

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of this process that the GPU reads and writes by itself, at the full speed of the bus; all zero."""
        return torch.zeros(shape, dtype=dtype, pin_memory=True)

    def record(self, work: Work, stream: Stream) -> Work:
        """What queues as a whole what `work` queues on a stream; `work` has run there before.

        Raises:
            RuntimeError: of torch, for work that waits for the GPU or needs more memory than there is.
        """
        graph = torch.cuda.CUDAGraph()
        with self.current(), torch.cuda.graph(graph, stream=stream.queue, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def release(self) -> None:
        """Give memory that nobody has any more back to the GPU."""
        with suppress(RuntimeError):  # of work that failed: who releases knows it
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
