"""What one thread of one process uses at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from cxrzero.errors import UsageError

T = TypeVar("T")


class OneThread:
    """Lets in the thread that is in, any number of times, or any thread while none is; until it is closed.

    Args:
        name: of what is guarded, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name, self._process = name, os.getpid()
        self._lock = threading.Lock()
        self._thread, self._times = 0, 0
        self._is_closed = False

    def check(self) -> None:
        """Raises UsageError: the process was forked, or it is closed."""
        if os.getpid() != self._process:  # the threads of the libraries are not there: it would wait for them for ever
            raise UsageError(
                f"this {self._name} was made before the process was forked; make a new one in each process"
            )
        if self._is_closed:
            raise UsageError(f"this {self._name} is closed; make a new one")

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be in.

        Raises:
            UsageError: another thread is in; and see `check`.
        """
        self.check()
        me = threading.get_ident()
        with self._lock:
            if self._times and self._thread != me:
                raise UsageError(
                    f"another thread is using this {self._name}, or has not ended or closed its iterator; a "
                    f"{self._name} is not thread-safe: make one for each thread, or let one wait for the other"
                )
            self._thread, self._times = me, self._times + 1
        try:
            yield
        finally:
            with self._lock:
                self._times -= 1

    def through(self, items: Generator[T, None, None]) -> Generator[T, None, None]:
        """The items, inside from the first to the last, or until it is closed."""
        try:
            with self():
                for item in items:
                    yield item
                    self.check()
        finally:
            items.close()

    def close(self) -> None:
        """Let nobody in any more.

        Raises:
            UsageError: another thread is in.
        """
        if not self._is_closed:
            with self():
                self._is_closed = True

    def refuse_pickling(self) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"a {self._name} cannot be pickled or copied; make a new one in each process")
