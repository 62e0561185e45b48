"""An engine without processes: a task runs when the driver waits for it. For tests, and to show what an engine is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from cxrzero.cluster.engine import Ended, Task
from cxrzero.cluster.task import run_slice
from cxrzero.errors import CxrzeroError

Carry = Callable[[Task, Path, Callable[[int], None]], None]


class InProcess:
    """Runs one task after the other.

    Args:
        results: where they appear, see `cxrzero.cluster.task.run_slice`.
        room: how many may wait.
        carry: carries a task out; tests play lost nodes here.
    """

    name = "inprocess"
    versions: Mapping[str, str] = {}

    def __init__(self, results: Path, room: int = 2, carry: Carry = run_slice) -> None:
        self._results, self._most, self._carry = results, room, carry
        self._waiting: deque[tuple[int, Task]] = deque()
        self._progress: dict[int, int] = {}

    def room(self) -> int:
        return self._most - len(self._waiting)

    def submit(self, task: Task, number: int) -> None:
        self._waiting.append((number, task))

    def ended(self, timeout: float) -> list[Ended]:
        if not self._waiting:
            return []
        number, task = self._waiting.popleft()
        try:
            self._carry(task, self._results, lambda films: self._progress.__setitem__(number, films))
        except CxrzeroError as error:
            return [Ended(number, error, "this process")]
        finally:
            self._progress.pop(number, None)
        return [Ended(number, node="this process")]

    def progress(self) -> Mapping[int, int]:
        return self._progress

    def cancel(self, number: int) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] != number)

    def close(self) -> None:
        self._waiting.clear()
