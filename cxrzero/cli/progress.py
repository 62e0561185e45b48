"""Progress on standard error: a bar in a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from cxrzero.pipeline.live import Live

SECONDS_BETWEEN_LINES = 10.0
# A bar is drawn ten times a second; telling it of every row would take longer than a row from the cache.
SECONDS_BETWEEN_UPDATES = 0.1


class Progress:
    """Shows a running prediction or search; call it after each row."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("Screening", total=None, rate="") if self._bar else None
        self._started = time.monotonic()
        self._interval = SECONDS_BETWEEN_UPDATES if self._bar else SECONDS_BETWEEN_LINES
        self._next = self._started + self._interval

    def __call__(self, live: Live) -> None:
        """Tell what is done so far, and how many files there are where that is known."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        rows, total, seconds = live.stats.rows, live.total, now - self._started
        rate = f"{rows / seconds:.1f} images/s"
        if self._bar is not None and self._task is not None:
            # Frames can outnumber files; the bar then waits at its end.
            self._bar.update(self._task, completed=rows, total=total and max(total, rows), rate=rate)
        else:
            of = f" of {total:,}" if total else ""
            left = f", {_time_left(rows, total, seconds)} left" if total else ""
            print(f"{rows:,}{of} images, {live.stats.failed:,} failed, {rate}{left}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _time_left(rows: int, total: int, elapsed: float) -> str:
    seconds = max(0, total - rows) * elapsed / rows
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
