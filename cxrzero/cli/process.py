"""Settings of the whole process, which only a command may make; a library leaves them to its host."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import NoReturn

from cxrzero.cli.terminal import say
from cxrzero.display.plain import PLAIN

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Objects made between two looks for cycles; Python's own 700 cost a run over cached images a seventh of its time.
OBJECTS_PER_COLLECTION = 50_000
TERMINATED = 128 + signal.SIGTERM  # what shells expect

_received: set[int] = set()


def one_blas_thread() -> None:
    """Call before NumPy is imported; what the user has set stays.

    The threads wait by spinning, on cores that decoders and encoder need, and cosines with a few labels are far too
    small a product to be worth sharing.
    """
    for variable in BLAS_VARIABLES:
        os.environ.setdefault(variable, "1")


def rare_collections() -> None:
    """Look for cycles of objects rarely: what a run makes by the million has none."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)


def settle() -> None:
    """Call once, first: the streams, the signals, and what is printed that no command prints."""
    settle_streams()
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(handlers=[_Said()], level=logging.WARNING)
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, *_, **__: str(message)
    sys.excepthook = _say_traceback
    threading.excepthook = lambda thread: _say_traceback(thread.exc_type, thread.exc_value, thread.exc_traceback)


def settle_streams() -> None:
    """See to it that no character ends a command, and that no file takes the place of a closed stream (`>&-`)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)
    # The next file to be opened would get its number, and what a library writes there would get into that file.
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)


def let_go() -> None:
    """Have what is still held back for a reader who has gone vanish, so that Python does not complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def noting_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop`, for what ends in its own time; a second one acts at once."""

    def note(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_terminated() -> bool:
    """Whether SIGTERM, and not Ctrl-C, is why the command is interrupted."""
    return signal.SIGTERM in _received


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """What an interrupted run keeps and says is right for SIGTERM, too."""
    _received.add(number)
    raise KeyboardInterrupt


class _Said(logging.Handler):
    """Warnings of libraries, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.capitalize()}: {record.getMessage()}")


def _say_traceback(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    for part in traceback.format_exception(kind, error, trace):
        for line in part.rstrip("\n").split("\n"):
            say(line)
