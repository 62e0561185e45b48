"""An iterator that waits for others, worked off in a thread of its own, so that its lists come while films are read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import Full, Queue
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Made(NamedTuple, Generic[T]):
    """One of its values, or why there is no further one."""

    value: T


def read_ahead(
    made: Iterator[T], count: int, hurried: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Generator[T, None, None]:
    """What `made` gives, with at most `count` values waiting; what it raises is raised here.

    Args:
        hurried: inside it `made` soon ends, which is wanted where nobody reads on.
    """
    waiting: Queue[_Made[T] | BaseException | None] = Queue(count)
    is_over = threading.Event()

    def put(item: _Made[T] | BaseException | None) -> bool:
        while not is_over.is_set():
            try:
                waiting.put(item, timeout=0.2)
            except Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            if all(put(_Made(value)) for value in made):
                put(None)
        except BaseException as error:  # raised by who reads the queue
            put(error)

    thread = threading.Thread(target=run, name="list", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item.value
    except BaseException:
        is_over.set()
        with hurried():
            thread.join()
        raise
