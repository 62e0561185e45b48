"""A GPU of `cxrzero.backends.torch.cuda`, pretended in this process's memory.

What is queued on a stream is done as late as it may be: when somebody waits for it. A stream that is `eager` does it at
once, as far as what it waits for allows. So whoever writes to memory too early, or reads it before it waited, gets
another result under one of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from cxrzero.backends.torch.cuda import Cuda, Event, Stream, Work


class PretendedCuda(Cuda):
    """See the module.

    Args:
        rows: what has more of them does not fit into memory.
        eager: "copies", "arithmetic".
        unrecordable: what is raised when work is recorded.

    Attributes:
        log: what was queued, recorded and waited for, in order.
    """

    def __init__(
        self, rows: int | None = None, eager: tuple[str, ...] = (), unrecordable: Exception | None = None
    ) -> None:
        self.device = torch.device("cpu")
        self.log: list[str] = []
        self._rows, self._unrecordable = rows, unrecordable
        self.copies, self.arithmetic = (
            PretendedStream(self.log, is_eager=name in eager) for name in ("copies", "arithmetic")
        )

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def event(self) -> Event:
        return PretendedEvent(self.log)

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if self._rows is not None and shape[0] > self._rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return torch.zeros(shape, dtype=dtype)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype)

    def record(self, work: Work, stream: Stream) -> Work:
        self.log.append("record")
        if self._unrecordable is not None:
            raise self._unrecordable
        return work

    def release(self) -> None:
        self.log.append("release")


class PretendedStream(Stream):
    def __init__(self, log: list[str], *, is_eager: bool) -> None:
        self._log, self._is_eager = log, is_eager
        self._work: list[Callable[[], object]] = []
        self._done = 0

    def copy(self, to: torch.Tensor, source: torch.Tensor) -> None:
        self._queue("copy", lambda: to.copy_(source))

    def run(self, work: Work) -> None:
        self._queue("run", work)

    def mark(self, event: Event) -> None:
        assert isinstance(event, PretendedEvent)
        event.reached = self._until(len(self._work))

    def wait_for(self, event: Event) -> None:
        assert isinstance(event, PretendedEvent)
        self._queue("wait", event.reached)

    def finish(self) -> None:
        self._until(len(self._work))()

    def _queue(self, name: str, work: Callable[[], object]) -> None:
        self._log.append(name)
        self._work.append(work)
        if self._is_eager:
            self.finish()

    def _until(self, count: int) -> Callable[[], None]:
        """Does the first `count` pieces of what is queued here."""

        def reach() -> None:
            while self._done < count:
                self._done += 1
                self._work[self._done - 1]()

        return reach


class PretendedEvent(Event):
    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.reached: Callable[[], None] = lambda: None

    def finish(self) -> None:
        self._log.append("finish")
        self.reached()
