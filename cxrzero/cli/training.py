"""How a training run shows itself: a bar in a terminal, plain lines in a log. Silent in all processes but the first."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cxrzero.cli.progress import bar
from cxrzero.cli.terminal import say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cxrzero.train.progress import Progress

SECONDS_BETWEEN_LINES = 10.0
NAMES = {"decode": "Decoding", "step": "Training", "validate": "Validated", "export": "Exporting"}


class TrainingDisplay:
    """Shows a running training; call it with each `Progress`."""

    def __init__(self) -> None:
        self._bar = bar("{task.completed:,}/{task.total:,}", "{task.fields[facts]}") if _first() else None
        self._task: TaskID | None = None
        self._stage, self._measured = "", ""
        self._next_line = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.stage == "note":
            self.say(progress.message or "")
        elif progress.stage == "validate":
            self._measured = _measured(progress)
            self.say(", ".join(part for part in (f"step {progress.done:,}", self._measured) if part))
        elif self._bar is not None:
            self._draw(progress)
        elif progress.stage == "export" or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            self.say(_line(progress))

    def say(self, text: str) -> None:
        """A line above the bar, or just a line."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif _first():
            say(text)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _draw(self, progress: Progress) -> None:
        assert self._bar is not None
        if progress.stage != self._stage or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._stage = progress.stage
            self._task = self._bar.add_task(NAMES[progress.stage], total=progress.total, facts="")
        facts = ", ".join([*_facts(progress), self._measured] if self._measured else _facts(progress))
        self._bar.update(self._task, completed=progress.done, total=progress.total, facts=facts)


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _line(progress: Progress) -> str:
    return ", ".join([f"{NAMES[progress.stage].lower()} {progress.done:,}/{progress.total:,}", *_facts(progress)])


def _facts(progress: Progress) -> list[str]:
    facts = []
    if progress.loss is not None:
        facts.append(f"loss {progress.loss:.4f}")
    if progress.images_per_second is not None:
        facts.append(f"{progress.images_per_second:.0f} images/s")
    if progress.seconds_left is not None:
        facts.append(f"{_duration(progress.seconds_left)} left")
    return facts


def _measured(progress: Progress) -> str:
    parts = []
    if progress.auroc is not None:
        value, low, high = progress.auroc
        interval = f"{low:.3f} to {high:.3f}; " if low == low else ""
        parts.append(f"AUROC {value:.3f} ({interval}chance 0.5)")
    if progress.recall is not None:
        chance = f" (chance {progress.recall_chance:.3f})" if progress.recall_chance is not None else ""
        parts.append(f"R@5 {progress.recall:.3f}{chance}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
