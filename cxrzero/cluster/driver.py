"""Has every slice of a plan done, whatever happens to nodes: starts tasks, counts, tries again, doubles stragglers.

It alone decides what is done again. Results that are there and fit the plan are not made again, so that a driver which
was killed goes on where it was.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cxrzero import errors
from cxrzero.choices import Notify
from cxrzero.cluster.engine import Ended, Engine, LostError
from cxrzero.cluster.events import Events
from cxrzero.cluster.plan import PlanFolder, Sliced, slice_file, task_of
from cxrzero.cluster.results import part_folder, read_result, take
from cxrzero.display.counts import counted
from cxrzero.errors import CxrzeroError, RunError
from cxrzero.predict.merge import Part, difference
from cxrzero.predict.run import FailFastError

# What another try would not change.
FINAL = (
    errors.UsageError,
    errors.BundleError,
    errors.DeviceError,
    errors.MissingExtraError,
    errors.TokenizerError,
    FailFastError,
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How much a driver puts up with.

    Attributes:
        failures: tries of one slice that may end with an error.
        losses: tries of one slice that may end without a word, as on a node that dies; a film that crashes its decoder
            looks the same.
        straggler_s, straggler_times: a slice is started a second time, where there is room and nothing else to do, when
            it took so many seconds and so many times the median.
        no_room_s: nothing runs and nothing can be started for so long.
        look_s: between two looks.
    """

    failures: int = 3
    losses: int = 10
    straggler_s: float = 60.0
    straggler_times: float = 3.0
    no_room_s: float = 300.0
    look_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is.

    Attributes:
        films: of the walk; done: of these, those of running tasks included.
        kept: of these, done before this driver began.
        tasks, tasks_running, tasks_done: slices.
        retried: tries that were not the first of their slice.
    """

    films: int
    done: int
    kept: int
    tasks: int
    tasks_running: int
    tasks_done: int
    retried: int


@dataclass(slots=True)
class _Try:
    """A try of slice `number`; what waits for its turn in an engine has not `begun`."""

    number: int
    submitted: float
    begun: float | None = None

    def seconds(self) -> float:
        return time.monotonic() - (self.begun or self.submitted)


class Driver:
    """One plan, on its way.

    Args:
        folder, plan: what is to be done.
        engine: has it done.
        walk: digest of the walk as records have it, see `cxrzero.cluster.results.read_result`.
        asked: keys of a record → what this machine knows that every node must say of model and prompts.
        notify: is told what is done again and why.
        on_news: is called after each look.
    """

    def __init__(
        self,
        folder: PlanFolder,
        plan: Sliced,
        engine: Engine,
        walk: str,
        asked: Mapping[str, Any],
        *,
        patience: Patience | None = None,
        notify: Notify = lambda line: None,
        on_news: Callable[[Standing], None] = lambda standing: None,
    ) -> None:
        self._folder, self._plan, self._engine, self._walk, self._asked = folder, plan, engine, walk, asked
        self._patience, self._notify, self._on_news = patience or Patience(), notify, on_news
        self.events = Events(folder.path)
        self._parts: dict[int, Part] = {}
        self._running: dict[int, _Try] = {}
        self._tries = 0
        self._failures: Counter[int] = Counter()
        self._losses: Counter[int] = Counter()
        self._durations: list[float] = []
        self._last_run = time.monotonic()
        self._take_up()
        self._kept = self._films_done()
        self._todo = deque(number for number in self._numbers() if number not in self._parts)

    def run(self) -> list[Part]:
        """Have all done; the results in the order of the walk.

        Raises:
            CxrzeroError: a task cannot be done, or was lost too often; what is done stays.
        """
        while len(self._parts) < len(self._plan.slices):
            self._start()
            for number in self._engine.progress():
                if (each := self._running.get(number)) and each.begun is None:
                    each.begun = time.monotonic()
            for ended in self._engine.ended(self._patience.look_s):
                self._take(ended)
            self._on_news(self.standing())
        return [self._parts[number] for number in self._numbers()]

    def standing(self) -> Standing:
        running: Counter[int] = Counter()
        for number, films in self._engine.progress().items():
            if each := self._running.get(number):
                running[each.number] = max(running[each.number], films)
        under_way = sum(films for number, films in running.items() if number not in self._parts)
        return Standing(
            films=self._plan.films,
            done=self._films_done() + under_way,
            kept=self._kept,
            tasks=len(self._plan.slices),
            tasks_running=len({each.number for each in self._running.values() if each.begun} - self._parts.keys()),
            tasks_done=len(self._parts),
            retried=len(self.events),
        )

    def _take_up(self) -> None:
        """Find what is there already; a result that is not as it was written is taken away, and done again."""
        for number in self._numbers():
            if part_folder(self._folder.results, number).exists():
                try:
                    self._accept(number)
                except MixedError:
                    raise
                except RunError as error:
                    self._again(number, f"its result cannot be used: {error}", "")
                    shutil.rmtree(part_folder(self._folder.results, number))

    def _start(self) -> None:
        """Submit what there is room for."""
        while self._engine.room() > 0 and (number := self._next()) is not None:
            self._tries += 1
            self._running[self._tries] = _Try(number, time.monotonic())
            self._engine.submit(task_of(self._folder.path, number, self._plan), self._tries)
        if self._running:
            self._last_run = time.monotonic()
        elif time.monotonic() - self._last_run > self._patience.no_room_s:
            raise RunError(
                f"the engine {self._engine.name} has had no room for a task for {self._patience.no_room_s:.0f} s; "
                f"{self._is_kept()}"
            )

    def _next(self) -> int | None:
        """The slice to start now."""
        if self._todo:
            return self._todo.popleft()
        if not self._durations:
            return None
        slow = max(self._patience.straggler_s, self._patience.straggler_times * statistics.median(self._durations))
        numbers = Counter(each.number for each in self._running.values())
        for each in self._running.values():
            if numbers[each.number] == 1 and each.begun and each.seconds() > slow:
                self._again(each.number, "it takes long, and is done a second time beside", "")
                return each.number
        return None

    def _take(self, ended: Ended) -> None:
        """Take how a try ended."""
        each = self._running.pop(ended.number, None)
        if each is None or each.number in self._parts:
            return
        error = ended.error
        if error is None:
            try:
                if ended.files is not None:
                    take(self._folder.results, each.number, ended.files)
                self._accept(each.number)
            except MixedError:
                raise
            except RunError as found:
                shutil.rmtree(part_folder(self._folder.results, each.number), ignore_errors=True)
                error = found
        if error is None:
            self._durations.append(each.seconds())
            for number in [number for number, other in self._running.items() if other.number == each.number]:
                self._engine.cancel(number)
        else:
            self._failed(each.number, error, ended.node)

    def _failed(self, number: int, error: CxrzeroError, node: str) -> None:
        """Have a slice done again, within bounds."""
        if isinstance(error, FINAL):
            raise error
        is_lost = isinstance(error, LostError)
        counts = self._losses if is_lost else self._failures
        counts[number] += 1
        if counts[number] >= (self._patience.losses if is_lost else self._patience.failures):
            first, films, _ = self._plan.slices[number - 1]
            its_films = f"films {first + 1:,} to {first + films:,}, see {slice_file(self._folder.path, number)}"
            last = f"last on {node}" if node else "last"
            raise RunError(
                f"task {number} of {len(self._plan.slices)} ({its_films}) was tried {counts[number]} times, {last}: "
                f"{error}; {self._is_kept()}"
            )
        self._again(number, str(error), node)
        if not any(each.number == number for each in self._running.values()):
            self._todo.append(number)

    def _again(self, number: int, why: str, node: str) -> None:
        self.events.add(number, why, node)
        where = f" (on {node})" if node else ""
        self._notify(f"Note: task {number} is tried again{where}: {why}")

    def _accept(self, number: int) -> None:
        """Take a slice's result, if it is good and of one kind with the others."""
        part = read_result(self._folder.results, task_of(self._folder.path, number, self._plan), self._walk)
        kept = f"{self._is_kept()} (delete that folder to begin anew)"
        if other := [key for key, value in self._asked.items() if part.record.get(key) != value]:
            raise MixedError(
                f"{_node(part)} has something else than this machine under {', '.join(other)}: put the same model, "
                f"prompts and version of cxrzero on every node; {kept}"
            )
        first = next(iter(self._parts.values()), None)
        if first and (what := difference(first.record, part.record)):
            raise MixedError(
                f"{_node(part)} computes otherwise than {_node(first)}: they differ in {what}. All tasks of a run are "
                f"done alike: install the same versions, and give --device and --backend; {kept}"
            )
        self._parts[number] = Part(part.path, _sharing(part.record, first.record if first else {}))

    def _is_kept(self) -> str:
        done = counted(len(self._parts), "task is", "tasks are")
        return f"{done} done and kept in {self._folder.path}, and the same command goes on from there"

    def _films_done(self) -> int:
        return sum(self._plan.slices[number - 1].films for number in self._parts)

    def _numbers(self) -> range:
        return range(1, len(self._plan.slices) + 1)


class MixedError(RunError):
    """Nodes do not compute alike, so that their rows are not those of one run."""


def _node(part: Part) -> str:
    node = part.record.get("node") or {}
    return f"{node.get('host', 'a node')} ({part.record.get('gpu') or node.get('processor', 'unknown')})"


def _sharing(record: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """A record that holds what is equal in another only once in memory: of a thousand parts most is."""
    return {key: first[key] if key in first and first[key] == value else value for key, value in record.items()}
