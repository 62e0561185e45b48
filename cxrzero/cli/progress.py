"""Progress on standard error: a bar in a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from cxrzero.predict import RunReport

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows a running prediction; call it with the report after each row."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("Screening", total=None, rate="") if self._bar else None
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, report: RunReport) -> None:
        rows, seconds = report.stats.rows, report.wall_seconds
        rate = f"{rows / seconds:.1f} images/s" if seconds else ""
        if self._bar is not None and self._task is not None:
            # Frames can outnumber files; the bar then waits at its end.
            total = max(report.total, rows) if report.total is not None else None
            self._bar.update(self._task, completed=rows, total=total, rate=rate)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            left = f", {_left(report)} left" if report.total else ""
            of = f" of {report.total:,}" if report.total else ""
            print(f"{rows:,}{of} images, {report.stats.failed:,} failed, {rate}{left}", file=sys.stderr, flush=True)

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


def _left(report: RunReport) -> str:
    total, rows = report.total or 0, report.stats.rows
    seconds = max(0, total - rows) * report.wall_seconds / rows
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
