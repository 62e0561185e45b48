"""How far work is, where a person looks at it: a bar in a terminal or a notebook, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from cxrzero.display.counts import counted
from cxrzero.display.page import escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

SECONDS_BETWEEN_LINES = 10.0
# A bar is drawn ten times a second; telling it of every row would take longer than a row from the cache.
SECONDS_BETWEEN_UPDATES = 0.1
# A run that is over by then needs no time left, and nobody has counted for it.
COUNT_AFTER_S = 0.5

Count = Callable[[], int | None]


class Display(Protocol):
    """Where progress is shown."""

    seconds: float  # between two updates

    def show(self, done: int, total: int | None, text: str) -> None:
        """Show what is done of a total, where that is known, and `text`, which says the same and more."""

    def close(self, *, is_done: bool) -> None:
        """Leave it as it is; where it was broken off, a bar goes away."""


class Watched:
    """Shows how many images are done; call it after each.

    Args:
        count: says how many there are, None where nobody knows; it is asked beside the work.
        is_shown: without it nothing is shown.
    """

    def __init__(self, count: Count, *, is_shown: bool = True) -> None:
        self._count, self._is_shown = count, is_shown
        self._done = 0
        self._total: int | None = None
        self._display: Display | None = None

    def __enter__(self) -> Self:
        if self._is_shown:
            self._display = display()
            self._started = time.monotonic()
            self._next = self._started + self._display.seconds
            self._timer = threading.Timer(COUNT_AFTER_S, self._tally)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __call__(self) -> None:
        if self._display is None:
            return
        self._done += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._display.seconds
            self._show(self._display, self._total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is None:
            return
        self._timer.cancel()
        self._show(self._display, self._total if error else self._done)
        self._display.close(is_done=error is None)

    def _show(self, display: Display, total: int | None) -> None:
        # Frames can outnumber files; the bar then waits at its end.
        total = total and max(total, self._done)
        display.show(self._done, total, sentence(self._done, total, time.monotonic() - self._started))

    def _tally(self) -> None:
        self._total = self._count()


def sentence(done: int, total: int | None, seconds: float) -> str:
    """ "120 of 8,000 images, 35.2 images/s, 3 min 43 s left"."""
    shown = f"{done:,} of {counted(total, 'image')}" if total else counted(done, "image")
    rate = f", {done / seconds:.1f} images/s" if seconds > 0 else ""
    left = f", {time_left(done, total, seconds)} left" if total and 0 < done < total else ""
    return f"{shown}{rate}{left}"


def time_left(done: int, total: int, elapsed: float) -> str:
    """ "3 min 43 s", at the speed so far."""
    seconds = max(0, total - done) * elapsed / done
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def display() -> Display:
    """The one that fits where the program runs."""
    if (show := _notebook()) is not None:
        return Notebook(show)
    found = terminal_bar()
    return Lines() if found is None else Terminal(found)


class Lines:
    """On standard error, below each other: a log."""

    seconds = SECONDS_BETWEEN_LINES

    def show(self, done: int, total: int | None, text: str) -> None:
        if sys.stderr is not None:
            with suppress(OSError):  # nobody reads it: that ends no work
                print(text, file=sys.stderr, flush=True)

    def close(self, *, is_done: bool) -> None:
        """Lines stay."""


class Terminal:
    """A bar that is drawn again in its place."""

    seconds = SECONDS_BETWEEN_UPDATES

    def __init__(self, bar: RichProgress) -> None:
        self._bar, self._task = bar, bar.add_task("Screening", total=None, text="")
        bar.start()

    def show(self, done: int, total: int | None, text: str) -> None:
        self._bar.update(self._task, completed=done, total=total, text=text)

    def close(self, *, is_done: bool) -> None:
        self._bar.live.transient = not is_done
        self._bar.stop()


class Notebook:
    """A bar below the cell.

    Args:
        show: IPython's `display`.
    """

    seconds = 0.5  # each update is a message to the browser

    def __init__(self, show: Callable[..., Any]) -> None:
        self._shown = Bar(0, None, "")
        self._handle = show(self._shown, display_id=True)

    def show(self, done: int, total: int | None, text: str) -> None:
        self._handle.update(Bar(done, total, text))

    def close(self, *, is_done: bool) -> None:
        """It stays as it is."""


class Bar:
    """What a notebook is given to show."""

    def __init__(self, done: int, total: int | None, text: str) -> None:
        self._done, self._total, self._text = done, total, text

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        share = "" if self._total is None else f' value="{self._done}" max="{self._total}"'
        return f"<progress{share}></progress> {escape(self._text)}"


def _notebook() -> Callable[..., Any] | None:
    """IPython's `display`, if a kernel runs the program; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    from IPython.display import display as show

    found: Callable[..., Any] = show
    return found


def terminal_bar() -> RichProgress | None:
    """A bar with a text behind it."""
    if not is_terminal():
        return None
    from rich.console import Console

    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    return None if console.is_dumb_terminal else bar(console, "{task.fields[text]}")


def is_terminal() -> bool:
    """Whether a person may look at standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def bar(console: Console, *texts: str, time_left: bool = False, width: int = 40) -> RichProgress:
    """Make a bar with what is done before it and `texts` behind it, in the format of rich's TextColumn.

    Args:
        width: of the bar, in characters.
    """
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    last = [TimeRemainingColumn()] if time_left else []
    return Progress("{task.description}", BarColumn(width), *texts, *last, console=console)
