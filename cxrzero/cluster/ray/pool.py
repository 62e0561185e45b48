"""The workers of a Ray cluster: started where a node has room and a task waits, forgotten where a node goes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
from ray.exceptions import ActorUnschedulableError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cxrzero._version import __version__
from cxrzero.cluster.engine import Ended, LostError, NodeError, Task
from cxrzero.cluster.ray.needs import Needs, Resources
from cxrzero.cluster.ray.worker import Ready, Worker
from cxrzero.display.counts import counted
from cxrzero.errors import CxrzeroError, RunError

# Between two looks at the nodes, and between two questions to a worker how far it is.
NODES_S, FILMS_S = 2.0, 1.0
# A worker with nothing to do gives its cores back: the cluster may be others', too.
IDLE_S = 30.0
# Starts that may fail on a node until it is left out.
FALSE_STARTS = 3


@dataclass(slots=True)
class _Member:
    """A worker, and what it was asked last.

    Attributes:
        handle: of Ray's actor; node: id of its node.
        cpus: cores that it has.
        call: what it is at; since: when that began.
        asked: how far it is, where that was asked.
        number: of the try that it carries out.
    """

    handle: Any
    node: str
    cpus: int
    call: Any
    phase: Literal["about", "load", "idle", "busy"] = "about"
    since: float = field(default_factory=time.monotonic)
    asked: Any = None
    asked_at: float = 0.0
    host: str = ""
    number: int = 0
    task: Task | None = None
    films: int = 0

    def turns(self, phase: Literal["load", "idle", "busy"], call: Any = None) -> None:
        self.phase, self.call, self.since = phase, call, time.monotonic()

    @property
    def place(self) -> str:
        return f"{self.host or 'a machine'} (node {self.node[:8]})"


class Pool:
    """Workers for tasks that wait; made after `ray.init`.

    Args:
        needs: of each worker.
        no_nodes_s: how long there may be no node that can take a task.
        notify: is told what happens to nodes.
    """

    def __init__(self, needs: Needs, no_nodes_s: float, notify: Callable[[str], None]) -> None:
        self._needs, self._no_nodes_s, self._notify = needs, no_nodes_s, notify
        self._nodes: dict[str, Resources] = {}
        self._left_out: dict[str, str] = {}  # id of a node → why
        self._false_starts: Counter[str] = Counter()
        self._members: list[_Member] = []
        self._waiting: deque[tuple[int, Task]] = deque()
        self._looked = 0.0
        self._had_places = time.monotonic()
        self._said_none = False
        self._meet_nodes()

    @property
    def places(self) -> int:
        """How many tasks the cluster has room for at once."""
        return sum(map(self._needs.places_on, self._nodes.values()))

    def submit(self, task: Task, number: int) -> None:
        self._waiting.append((number, replace(task, options={**task.options, "device": self._needs.device})))

    def cancel(self, number: int) -> list[Ended]:
        """End a try."""
        error = LostError("it was cancelled")
        for waits in [each for each in self._waiting if each[0] == number]:
            self._waiting.remove(waits)
            return [Ended(number, error)]
        for member in [each for each in self._members if each.phase == "busy" and each.number == number]:
            self._forget(member)
            return [Ended(number, error, member.place)]
        return []

    def progress(self) -> Mapping[int, int]:
        """Number of each try that a worker is at → its films."""
        return {member.number: member.films for member in self._members if member.phase == "busy"}

    def look(self, timeout: float) -> list[Ended]:
        """Do what there is to do, and wait so long for the first answer; the tries that ended.

        Raises:
            RunError: no node can take a task, and none will.
        """
        now = time.monotonic()
        if now - self._looked > NODES_S:
            self._meet_nodes()
        self._hand_out()
        for member in self._members:
            if member.phase == "busy" and member.asked is None and now - member.asked_at > FILMS_S:
                member.asked, member.asked_at = member.handle.films.remote(), now
            if member.phase == "idle" and now - member.since > IDLE_S:
                self._forget(member)
        refs = {ref: member for member in self._members for ref in (member.call, member.asked) if ref is not None}
        if not refs:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(refs), num_returns=1, timeout=timeout)
        more, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0) if ready else ([], [])
        return [ended for ref in more for ended in self._answered(refs[ref], ref)]

    def close(self) -> None:
        for member in list(self._members):
            self._forget(member)

    def _meet_nodes(self) -> None:
        """See which nodes there are. Raises RunError where there was none of use for too long."""
        self._looked = now = time.monotonic()
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        self._needs = self._needs.settled(alive.values())
        self._nodes = {node: has for node, has in alive.items() if node not in self._left_out}
        if self.places:
            self._had_places, self._said_none = now, False
            return
        if self._left_out:
            raise self._none_left()
        what = "a GPU" if self._needs.device == "cuda" else counted(self._needs.cpus or 1, "core")
        lacking = f"no node of the Ray cluster offers {what} ({counted(len(alive), 'node')} there)"
        if now - self._had_places > self._no_nodes_s:
            raise RunError(f"{lacking}, for {self._no_nodes_s:.0f} s now; the same command goes on from what is done")
        if not self._said_none:
            self._said_none = True
            self._notify(f"{lacking}: waiting {self._no_nodes_s:.0f} s for one that can")

    def _none_left(self) -> RunError:
        return RunError(f"{next(reversed(self._left_out.values()))}; no other node can be used")

    def _hand_out(self) -> None:
        """Give tasks to those who have nothing to do, and start as many workers as tasks still wait."""
        for member in self._members:
            if member.phase == "idle" and self._waiting:
                member.number, task = self._waiting.popleft()
                member.task = replace(task, cpus=member.cpus)
                member.films, member.asked_at = 0, time.monotonic()
                member.turns("busy", member.handle.carry_out.remote(member.task))
        starting = sum(member.phase in ("about", "load") for member in self._members)
        taken = Counter(member.node for member in self._members)
        free = {node: self._needs.places_on(has) - taken[node] for node, has in self._nodes.items()}
        for _ in range(min(len(self._waiting) - starting, sum(max(0, places) for places in free.values()))):
            node = max(free, key=lambda node: free[node])
            free[node] -= 1
            self._start(node)

    def _start(self, node: str) -> None:
        cpus = self._needs.cpus_on(self._nodes[node])
        actor = ray.remote(
            num_cpus=cpus,
            num_gpus=1 if self._needs.device == "cuda" else 0,
            max_restarts=0,  # what is done again, the driver decides
            max_task_retries=0,
            max_concurrency=2,  # `films` beside `carry_out`
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )(Worker)
        handle = actor.remote()
        self._members.append(_Member(handle, node, cpus, handle.about.remote()))

    def _answered(self, member: _Member, ref: Any) -> list[Ended]:
        """Take an answer."""
        if member not in self._members:  # it was forgotten over another answer
            return []
        try:
            answer = ray.get(ref)
        except RayError as error:
            return self._lost(member, error)
        if ref == member.asked:
            member.films, member.asked = answer, None
            return []
        if member.phase == "about":
            return self._met(member, answer)
        if member.phase == "load":
            if isinstance(answer, CxrzeroError):
                return self._leave_out(member, f"the model cannot be used on {member.place}: {answer}")
            member.turns("idle")
            return []
        if isinstance(answer, NodeError):
            self._waiting.appendleft((member.number, member.task))  # type: ignore[arg-type]
            return self._leave_out(member, str(answer))
        member.turns("idle")
        if isinstance(answer, CxrzeroError):
            return [Ended(member.number, answer, member.place)]
        return [Ended(member.number, None, member.place, answer)]

    def _met(self, member: _Member, ready: Ready) -> list[Ended]:
        """Have a worker load the model, if it is one of ours."""
        member.host = ready.host
        if ready.cxrzero != __version__:
            return self._leave_out(
                member,
                f"{member.place} has cxrzero {ready.cxrzero}, and the driver has {__version__}; install the same",
            )
        if self._waiting:
            _, task = self._waiting[0]
            bare = replace(task, content=b"", sha256="", films=0, cpus=member.cpus)
            member.turns("load", member.handle.load.remote(bare))
        else:
            member.turns("idle")
        return []

    def _lost(self, member: _Member, error: RayError) -> list[Ended]:
        """A worker is gone."""
        self._forget(member)
        if member.phase == "busy":
            return [Ended(member.number, LostError(why(error)), member.place)]
        is_there = any(node["NodeID"] == member.node and node["Alive"] for node in ray.nodes())
        if member.phase == "idle" or isinstance(error, ActorUnschedulableError) or not is_there:
            return []
        self._false_starts[member.node] += 1
        if any(name in str(error) for name in ("ImportError", "ModuleNotFoundError", "AttributeError")):
            return self._leave_out(
                member,
                f"cxrzero {__version__} cannot be imported on {member.place}; install it there, for the same Python",
            )
        if self._false_starts[member.node] >= FALSE_STARTS:
            return self._leave_out(member, f"no worker can be started on {member.place}: {why(error)}")
        return []

    def _leave_out(self, member: _Member, reason: str) -> list[Ended]:
        """Do without a node from now on.

        Raises:
            RunError: it was the last one.
        """
        if member.node not in self._left_out:
            self._left_out[member.node] = reason
            self._nodes.pop(member.node, None)
            if not self.places:
                raise self._none_left()
            self._notify(f"{reason}. That node is left out")
        for each in [each for each in self._members if each.node == member.node and each.phase != "busy"]:
            self._forget(each)
        self._forget(member)
        return []

    def _forget(self, member: _Member) -> None:
        """End a worker, if it still is there."""
        if member in self._members:
            self._members.remove(member)
            ray.kill(member.handle)


def why(error: RayError) -> str:
    """Why a worker is gone, without what Ray adds for its developers."""
    said = str(error)
    if "out of memory" in said.lower() or "OutOfMemory" in said or "running low on memory" in said:
        return "its node ran out of memory, and Ray ended the worker"
    if "node has died" in said or "node was terminated" in said or "NodeDied" in type(error).__name__:
        return "its node died, or lost its connection"
    return "its worker was killed, or crashed"
