"""Progress on standard error: a bar in a terminal, a plain line every few seconds in a log or beside a table."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cxrzero.cli.terminal import say
from cxrzero.display.counts import counted
from cxrzero.display.progress import SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_UPDATES, is_terminal
from cxrzero.display.progress import bar as progress_bar
from cxrzero.display.progress import time_left as remaining

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from cxrzero.cluster.driver import Standing
    from cxrzero.pipeline.live import Live

# Characters of a bar beside which much is said.
NARROW = 10


class _Shown:
    """A bar, where there is one, from the beginning to the end of the work."""

    _bar: RichProgress | None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


class Progress(_Shown):
    """Shows a running prediction or search; call it after each row.

    Args:
        beside_table: rows go to standard output meanwhile. They may reach the same terminal, also through a pipe, where
            a bar would be drawn over them.
    """

    def __init__(self, *, beside_table: bool = False) -> None:
        self._bar = None if beside_table else bar("{task.fields[done]}", "{task.fields[rate]}", time_left=True)
        self._task = self._bar.add_task("Screening", total=None, done="0", rate="") if self._bar else None
        self._live: Live | None = None
        self._started = time.monotonic()
        self._interval = SECONDS_BETWEEN_UPDATES if self._bar else SECONDS_BETWEEN_LINES
        self._next = self._started + self._interval

    def __call__(self, live: Live) -> None:
        """Tell what is done so far, and how many files there are where that is known."""
        self._live = live
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        rows, total, seconds = live.stats.rows, live.total, now - self._started
        if self._bar:
            # Frames can outnumber files; the bar then waits at its end.
            self._draw(rows, total and max(total, rows))
        else:
            left = f", {remaining(rows, total, seconds)} left" if total else ""
            done = f"{rows:,} of {counted(total, 'image')}" if total else counted(rows, "image")
            say(f"{done}, {live.stats.failed:,} failed, {self._rate(rows)}{left}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            if error is None and self._live:
                self._draw(self._live.stats.rows, self._live.stats.rows)
            else:
                self._bar.live.transient = True  # how far it came is said in words
            self._bar.stop()

    def _draw(self, rows: int, total: int | None) -> None:
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(self._task, completed=rows, total=total, done=_of(rows, total), rate=self._rate(rows))

    def _rate(self, rows: int) -> str:
        return f"{rows / (time.monotonic() - self._started):.1f} images/s"


class ClusterProgress(_Shown):
    """Shows a run on an engine; call it with how far it is."""

    def __init__(self) -> None:
        fields = ("{task.fields[done]}", "{task.fields[rate]}", "{task.fields[tasks]}")
        self._bar = bar(*fields, time_left=True, width=NARROW)
        self._task = self._bar.add_task("Screening", total=None, done="", rate="", tasks="") if self._bar else None
        self._started = time.monotonic()
        self._interval = SECONDS_BETWEEN_UPDATES if self._bar else SECONDS_BETWEEN_LINES
        self._next = self._started + self._interval

    def __call__(self, standing: Standing) -> None:
        now = time.monotonic()
        if now < self._next and standing.done < standing.films:
            return
        self._next = now + self._interval
        new, elapsed = standing.done - standing.kept, now - self._started
        rate = f"{new / elapsed:.1f} films/s"
        tasks = f"{standing.tasks_done:,}/{standing.tasks:,} tasks, {standing.tasks_running:,} running"
        if standing.retried:
            tasks += f", {standing.retried:,} retried"
        if self._bar and self._task is not None:
            self._bar.update(
                self._task,
                completed=standing.done,
                total=standing.films,
                done=_of(standing.done, standing.films),
                rate=rate,
                tasks=tasks,
            )
        else:
            left = f", {remaining(new, standing.films - standing.kept, elapsed)} left" if new else ""
            say(f"{standing.done:,} of {counted(standing.films, 'film')}, {rate}, {tasks}{left}")

    def note(self, line: str) -> None:
        """Say something beside it."""
        if self._bar:
            self._bar.console.print(line)
        else:
            say(line)


class Steps(_Shown):
    """Shows how many steps of a known number are done; call it with both."""

    def __init__(self, what: str) -> None:
        self._bar = bar("{task.fields[done]}", time_left=True)
        self._task = self._bar.add_task(what, total=None, done="") if self._bar else None
        self._what = what
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, done: int, total: int) -> None:
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, done=_of(done, total))
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            say(f"{self._what}: {_of(done, total)}")


def bar(*texts: str, time_left: bool = False, width: int = 40) -> RichProgress | None:
    """Make a bar with what is done before it and `texts` behind it, in the format of rich's TextColumn.

    Args:
        width: of the bar, in characters.

    Returns:
        None where a line cannot be drawn again in its place.
    """
    if not is_terminal():
        return None
    from cxrzero.cli.console import Console

    console = Console(stderr=True)
    return progress_bar(console, *texts, time_left=time_left, width=width) if console.can_redraw else None


def _of(rows: int, total: int | None) -> str:
    return f"{rows:,} of {total:,}" if total else f"{rows:,}"
