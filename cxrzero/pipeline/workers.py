"""The pool of processes that decode: how they start, what they do when the run ends, and what is said when one dies.

Fresh processes, not forks: threads of this one (torch's, ONNX Runtime's) may hold locks. They leave Ctrl-C to the
parent and end when it does, however that ends; none is waited for, since what it was doing can be done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

from cxrzero.errors import RunError

P = ParamSpec("P")
T = TypeVar("T")

# Processes that Windows can wait for at once; `ProcessPoolExecutor` refuses more.
MAX_ON_WINDOWS = 61


@dataclass(frozen=True, slots=True)
class Advice:
    """What an error says to do, in the options of the command that has the pool.

    Attributes:
        fewer: the option that says how many processes there are.
        alone: the option that does without any.
        in_python: the same for a script.
        kept: what of the work is not lost, as the end of a sentence.
        error: its type.
    """

    fewer: str
    alone: str
    in_python: str
    kept: str = ""
    error: type[RunError] = RunError


class Workers:
    """Processes that are started when work waits for them.

    Args:
        most: how many at most, see `most_workers`.
        advice: for errors.
        start: called first in each of them, with `known`.
    """

    def __init__(
        self, most: int, advice: Advice, start: Callable[..., None] | None = None, known: tuple[Any, ...] = ()
    ) -> None:
        self._most, self._advice, self._initargs = most, advice, (start, known)
        self._executor: ProcessPoolExecutor | None = None
        self._came_back = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have one of them call a function.

        Raises:
            RunError (or the advice's): there is no process, and none can be had.
        """
        if self._executor is None:
            self._executor = self._open()
        try:
            with interrupts_stay_here():
                return self._executor.submit(function, *args, **kwargs)
        except (BrokenProcessPool, BrokenPipeError):  # the pipe: a process that ended while it was started
            raise self._ended() from None
        except OSError as error:  # too many open files or processes, or no memory
            raise self._advice.error(
                f"a decoding process could not be started ({error}); "
                f"use fewer {self._advice.fewer} or {self._advice.alone}"
            ) from error

    def result(self, future: Future[T]) -> T:
        """Wait for the result.

        Raises:
            RunError (or the advice's): a process ended before.
        """
        try:
            found = future.result()
        except BrokenProcessPool:
            raise self._ended() from None
        self._came_back = True
        return found

    def close(self) -> None:
        """End the processes at once, in the middle of their work or not."""
        if self._executor is None:
            return
        for process in list(self._executor._processes.values()):
            process.terminate()
        # With no writer left, the pool does not wait for the rest of a message that was cut.
        self._executor._result_queue._writer.close()  # type: ignore[attr-defined]
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _open(self) -> ProcessPoolExecutor:
        try:
            return ProcessPoolExecutor(self._most, multiprocessing.get_context("spawn"), _begin, self._initargs)
        except (OSError, ImportError, NotImplementedError) as error:  # no semaphores, as in some containers
            raise self._advice.error(f"processes cannot be used here ({error}); use {self._advice.alone}") from error

    def _ended(self) -> RunError:
        """Say what happened without naming a file, since under --pseudonymise paths are not shown."""
        advice = self._advice
        if self._came_back:
            return advice.error(
                "a decoding process ended by itself: a damaged file may have crashed its decoder, or memory ran out; "
                f"run the command again with {advice.alone} or fewer {advice.fewer}{advice.kept}"
            )
        return advice.error(
            "decoding processes could not start, or ended over their first files; a script needs "
            'if __name__ == "__main__": around what it runs, since each process imports it; or use '
            f"{advice.in_python} ({advice.alone}){advice.kept}"
        )


def most_workers(wanted: int) -> int:
    """Limit a number of workers to what this system can have in one pool."""
    return min(wanted, MAX_ON_WINDOWS) if sys.platform == "win32" else wanted


@contextmanager
def interrupts_stay_here() -> Iterator[None]:
    """A process that is started meanwhile never sees Ctrl-C, which goes to all processes of a terminal."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows; `_begin` does it, a moment later
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(start: Callable[..., None] | None, known: tuple[Any, ...]) -> None:
    """Settle a new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if start is not None:
        start(*known)


def end_with_parent() -> None:
    """A parent that is killed says nothing, and its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
