"""A program of its own process group, told to go and read line by line. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.worker import GO
from benchmarks.wheels import last_line

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 2.0  # seconds between the last line of a program and its end


class Child:
    """A process of its own group, whose standard output is read as it comes.

    Args:
        errors: file of its standard error.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], errors: Path) -> None:
        self._errors = errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=ROOT,
                env=environment,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def lines(self, until: float) -> Iterator[str]:
        """What it prints, until it closes its output.

        Raises:
            TimeoutError: that is later than `until`, by time.monotonic.
        """
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError from None
            if line is None:
                return
            yield line

    def go(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(GO + "\n")
            self._process.stdin.flush()
        except OSError:  # it is over; its code and its last words tell why
            return

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def pause(self, is_paused: bool) -> None:
        if not self.is_over:
            os.killpg(self._process.pid, signal.SIGSTOP if is_paused else signal.SIGCONT)

    def end(self, patience: float = 0.0) -> str:
        """End it and what it started; why it failed, or nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # also what it left behind
        code = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(PATIENCE)
        if not code:
            return ""
        return f"ended with {code}: {reason(self._errors.read_text(encoding='utf-8', errors='replace'))}"


def reason(text: str) -> str:
    """Why a program ended, of what it wrote: the error of its traceback, else its last line."""
    errors = re.findall(r"(?m)^(?:[\w.]+(?:Error|Exception)\b.*)$", text)
    return last_line("\n".join(errors) or text)


def parsed(line: str) -> dict[str, Any]:
    """An entry that a program tells; nothing for any other line."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) else {}
