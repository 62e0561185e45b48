"""The driver's queue as a discrete-event simulation: workers come, take slices, share a store, and are lost.

`simulate` plays one run. Two clocks order its events: that of the wall, and that of the films, which goes slower while
the workers together want more of the store than it gives. What is alike in both: a slice is given to a worker that has
nothing to do, by a driver that does one thing at a time; a slice whose worker is lost goes back to the front; where no
slice is left, one that takes much longer than most is tried once more beside, and the first result counts.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import random
from collections import deque
from dataclasses import dataclass, field

from cxrzero.cluster.driver import Patience

HOUR_S = 3600.0
PATIENCE = Patience()  # the driver's own


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be done, and by whom. Times are in seconds.

    Attributes:
        films: of all slices.
        slice_films: of each slice; the last may have fewer.
        workers: at once.
        films_s: films per second of a worker that gets all that it asks for.
        start_s: from asking for a worker until it takes its first slice.
        plan_films_s: films per second of the walk, during which nobody works yet.
        merge_films_s: films per second of the merge, during which nobody works any more.
        task_s: of the driver's time for each try of a slice.
        store_films_s: films per second that the store gives to all workers together.
        slow_share: of workers that are slow; a worker that replaces one is drawn again.
        slow_times: how many times slower these are.
        losses_an_hour: expected of each worker.
        straggler_s, straggler_times: a slice is tried once more when it takes so long, and so many times the median.
    """

    films: int
    slice_films: int
    workers: int
    films_s: float
    start_s: float = 0.0
    plan_films_s: float = math.inf
    merge_films_s: float = math.inf
    task_s: float = 0.0
    store_films_s: float = math.inf
    slow_share: float = 0.0
    slow_times: float = 1.0
    losses_an_hour: float = 0.0
    straggler_s: float = PATIENCE.straggler_s
    straggler_times: float = PATIENCE.straggler_times


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took.

    Attributes:
        wall_s: from the walk's beginning to the table's end.
        worker_s: of all workers, each from when it is asked for until it is lost or the last slice is done.
        films_read: those too whose try came to nothing.
        tries, lost: of slices, and how many of them ended with their worker.
    """

    wall_s: float
    worker_s: float
    films_read: float
    tries: int
    lost: int


@dataclass(slots=True, eq=False)
class Worker:
    """One that works, or waits for a slice."""

    asked_at: float
    films_s: float = 0.0
    doing: Try | None = None


@dataclass(slots=True, eq=False)
class Try:
    """A worker at a slice; `begun` and `ends` are of the films' clock, `begun_at` of the wall's."""

    slice: int
    worker: Worker
    begun_at: float
    begun: float
    ends: float


@dataclass(slots=True)
class _Clocks:
    """Wall and films; events of each in a heap, with a number that makes equal times keep their order."""

    wall: float = 0.0
    films: float = 0.0
    of_wall: list[tuple[float, int, str, Worker | None]] = field(default_factory=list)
    of_films: list[tuple[float, int, Try]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)


def simulate(run: Run, seed: int = 0) -> Outcome:
    """Play a run. The same seed gives the same outcome."""
    return _Simulation(run, random.Random(seed)).play()


class _Simulation:
    def __init__(self, run: Run, chance: random.Random) -> None:
        self.run, self.chance = run, chance
        self.clocks = _Clocks(wall=run.films / run.plan_films_s)
        self.sizes = [min(run.slice_films, run.films - first) for first in range(0, run.films, run.slice_films)]
        self.queue = deque(range(len(self.sizes)))
        self.tries: dict[int, list[Try]] = {}
        self.undone = set(self.queue)
        self.idle: list[Worker] = []
        self.working: set[Worker] = set()
        self.wanted_films_s = 0.0  # of all that work now
        self.driver_free = self.clocks.wall
        self.durations: list[float] = []  # of the wall's clock, sorted
        self.next_look = math.inf
        self.worker_s = self.films_read = 0.0
        self.tried = self.lost = 0

    def play(self) -> Outcome:
        for _ in range(self.run.workers):
            self.ask_for_worker()
        while self.undone:
            self.step()
        self.worker_s += sum(self.clocks.wall - worker.asked_at for worker in self.working)
        for tries in self.tries.values():
            for each in tries:
                self.films_read += self.read_by(each)
        wall = self.clocks.wall + self.run.films / self.run.merge_films_s
        return Outcome(wall, self.worker_s, self.films_read, self.tried, self.lost)

    def step(self) -> None:
        """The next event of either clock."""
        clocks = self.clocks
        while clocks.of_films and clocks.of_films[0][2].worker.doing is not clocks.of_films[0][2]:
            heapq.heappop(clocks.of_films)  # of a try that was given up
        speed = min(1.0, self.run.store_films_s / self.wanted_films_s) if self.wanted_films_s else 1.0
        by_wall = clocks.of_wall[0][0] if clocks.of_wall else math.inf
        by_films = clocks.wall + (clocks.of_films[0][0] - clocks.films) / speed if clocks.of_films else math.inf
        at = min(by_wall, by_films)
        clocks.films += (at - clocks.wall) * speed
        clocks.wall = at
        if by_films <= by_wall:
            _, _, done = heapq.heappop(clocks.of_films)
            clocks.films = done.ends
            self.end_slice(done)
        else:
            _, _, event, worker = heapq.heappop(clocks.of_wall)
            getattr(self, event)(worker)

    def at_wall(self, seconds: float, event: str, worker: Worker | None = None) -> None:
        heapq.heappush(self.clocks.of_wall, (seconds, next(self.clocks.numbers), event, worker))

    # Events of the wall's clock.

    def come(self, worker: Worker) -> None:
        """A worker is there; when it will be lost is drawn."""
        is_slow = self.chance.random() < self.run.slow_share
        worker.films_s = self.run.films_s / (self.run.slow_times if is_slow else 1.0)
        if self.run.losses_an_hour:
            lives = self.chance.expovariate(self.run.losses_an_hour / HOUR_S)
            self.at_wall(self.clocks.wall + lives, "lose", worker)
        self.want_slice(worker)

    def lose(self, worker: Worker) -> None:
        """A worker is lost; its slice goes back, and another worker is asked for."""
        if worker.doing:
            self.lost += 1
            self.give_up(worker.doing)
        if worker in self.idle:
            self.idle.remove(worker)
        self.working.remove(worker)
        self.worker_s += self.clocks.wall - worker.asked_at
        self.ask_for_worker()
        self.wake_one()

    def begin(self, worker: Worker) -> None:
        """The driver hands a slice to a worker, if there is one that it may do and the worker is still there."""
        if worker not in self.working:
            self.wake_one()
            return
        if self.queue:
            self.hand(worker, self.queue.popleft())
        else:
            self.idle.append(worker)
            self.look_later()

    def look(self, _: None) -> None:
        """Slices that take long are given to workers that have nothing to do."""
        self.next_look = math.inf
        while self.idle and (longest := self.longest()) and self.is_long_at(longest) <= self.clocks.wall:
            self.hand(self.idle.pop(), longest.slice)
        self.look_later()

    # What events bring about.

    def hand(self, worker: Worker, number: int) -> None:
        begun = self.clocks.films
        ends = begun + self.sizes[number] / worker.films_s
        doing = worker.doing = Try(number, worker, self.clocks.wall, begun, ends)
        self.tried += 1
        self.tries.setdefault(number, []).append(doing)
        self.wanted_films_s += worker.films_s
        heapq.heappush(self.clocks.of_films, (doing.ends, next(self.clocks.numbers), doing))

    def ask_for_worker(self) -> None:
        worker = Worker(self.clocks.wall)
        self.working.add(worker)
        self.at_wall(self.clocks.wall + self.run.start_s, "come", worker)

    def want_slice(self, worker: Worker) -> None:
        """The driver turns to this worker when it has done what it is at."""
        self.driver_free = max(self.driver_free, self.clocks.wall) + self.run.task_s
        self.at_wall(self.driver_free, "begin", worker)

    def wake_one(self) -> None:
        if self.queue and self.idle:
            self.want_slice(self.idle.pop())

    def end_slice(self, done: Try) -> None:
        """The first result of a slice counts; another try of it ends now."""
        self.undone.discard(done.slice)
        bisect.insort(self.durations, self.clocks.wall - done.begun_at)
        for each in list(self.tries[done.slice]):
            self.films_read += self.read_by(each)
            self.stop(each)
            self.want_slice(each.worker)
        self.look_later()

    def give_up(self, lost: Try) -> None:
        """A try comes to nothing; its slice waits again if no other try of it runs."""
        self.films_read += self.read_by(lost)
        self.stop(lost)
        if lost.slice not in self.tries:
            self.queue.appendleft(lost.slice)

    def stop(self, ended: Try) -> None:
        ended.worker.doing = None
        self.wanted_films_s = max(0.0, self.wanted_films_s - ended.worker.films_s)
        self.tries[ended.slice].remove(ended)
        if not self.tries[ended.slice]:
            del self.tries[ended.slice]

    def read_by(self, each: Try) -> float:
        return min(1.0, (self.clocks.films - each.begun) / (each.ends - each.begun)) * self.sizes[each.slice]

    def longest(self) -> Try | None:
        """Of the slices that are tried once, the one that began first."""
        alone = (tries[0] for tries in self.tries.values() if len(tries) == 1)
        return min(alone, key=lambda each: each.begun_at, default=None)

    def is_long_at(self, each: Try) -> float:
        """When a try has taken so long that it is done once more."""
        if not self.durations:
            return math.inf
        median = self.durations[len(self.durations) // 2]
        return each.begun_at + max(self.run.straggler_s, self.run.straggler_times * median)

    def look_later(self) -> None:
        """See to it that a slice which takes long is seen then, if there is a worker for it."""
        if self.idle and (longest := self.longest()) and (at := self.is_long_at(longest)) < self.next_look:
            self.next_look = max(at, self.clocks.wall)
            self.at_wall(self.next_look, "look")
