"""`--engine ray`, as the driver has it: orders go to the gateway, and news come back."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from cxrzero.cluster.engine import Ended, LostError, Task
from cxrzero.cluster.installed import check_installed
from cxrzero.cluster.ray.gateway import Asked, Joined, News, Order, serve
from cxrzero.cluster.ray.needs import needs_of
from cxrzero.errors import CxrzeroError, RunError
from cxrzero.pipeline.workers import interrupts_stay_here
from cxrzero.predict.options import PredictOptions

LOG = "ray.log"
# How long a cluster may be without a node, or not be reached at all, until a run ends.
PATIENCE_S = 300.0
# Between two tries to reach a cluster again.
AGAIN_S = 10.0
# For an answer of Ray, where somebody answers; and for a cluster of our own, on a machine at work.
JOIN_S, START_S = 60.0, 300.0
# For the end of a gateway, with the cluster that it may have started.
END_S = 60.0

log = logging.getLogger("cxrzero")


def open_ray(address: str, options: PredictOptions, folder: Path) -> RayEngine:
    """See `cxrzero.cluster.open.open_engine`; `address` is empty for a cluster of our own."""
    needs = needs_of(options.device, options.workers)
    check_installed("ray")
    return RayEngine(Asked(address, needs, folder / LOG, PATIENCE_S))


class RayEngine:
    """Tasks on a Ray cluster.

    Args:
        asked: of the gateway.
        again_s: between two tries to reach a cluster that was lost.

    Attributes:
        versions: of Ray and Python, which are the same on all nodes.

    Raises:
        CxrzeroError: there is no such cluster, or it cannot be used; see `cxrzero.cluster.ray.joined`.
    """

    name = "ray"

    def __init__(self, asked: Asked, again_s: float = AGAIN_S) -> None:
        self._asked, self._again_s = asked, again_s
        self.versions: Mapping[str, str] = {}
        self._running: set[int] = set()
        self._ended: list[Ended] = []
        self._progress: Mapping[int, int] = {}
        self._places = 0
        self._is_joined = False
        self._lost_at = self._tried_at = 0.0
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._begin()
        end = time.monotonic() + (JOIN_S if asked.address else START_S)
        try:
            while not self._places:
                self._listen(1.0)
                if not self._is_joined and time.monotonic() > end:
                    raise RunError(_no_answer(asked.address))
        except BaseException:
            self.close()
            raise

    def room(self) -> int:
        self._listen(0)
        return max(0, self._places - len(self._running))

    def submit(self, task: Task, number: int) -> None:
        self._running.add(number)
        self._order((number, task))

    def ended(self, timeout: float) -> list[Ended]:
        """Raises RunError where the cluster is gone for good, or none of its nodes can be used."""
        if not self._ended:
            self._listen(timeout)
        ended, self._ended = self._ended, []
        self._running -= {each.number for each in ended}
        return ended

    def progress(self) -> Mapping[int, int]:
        return self._progress

    def cancel(self, number: int) -> None:
        self._order(number)

    def close(self) -> None:
        if self._process is not None and self._connection is not None:
            self._connection.close()
            if self._is_joined or not self._asked.address:  # else Ray may still try to join, and has started nothing
                self._process.join(END_S)
            self._drop()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._asked), name="ray gateway", daemon=True)
        with interrupts_stay_here():
            self._process.start()
        theirs.close()
        self._is_joined = False

    def _order(self, order: Order) -> None:
        if self._connection is not None:
            with suppress(OSError):  # it has ended, which `_listen` finds out
                self._connection.send(order)

    def _listen(self, timeout: float) -> None:
        """Take what there is of news; wait so long for the first."""
        if self._connection is None:
            if time.monotonic() - self._tried_at < self._again_s:
                time.sleep(timeout)
                return
            self._begin()
        assert self._connection is not None
        try:
            wait([self._connection], timeout)
            while self._connection is not None and self._connection.poll():
                self._take(self._connection.recv())
        except (EOFError, OSError):
            self._lost()

    def _take(self, news: Joined | News | CxrzeroError) -> None:
        if isinstance(news, News):
            self._places, self._progress = news.places, news.progress
            self._ended += [each for each in news.ended if each.number in self._running]
            if any(each.error is None for each in news.ended):
                self._lost_at = 0.0
            for line in news.lines:
                log.warning("%s", line)
        elif isinstance(news, Joined):
            self._is_joined = True
            if not self.versions and not (news.cluster.is_own or news.cluster.is_local):
                log.warning(
                    "The Ray cluster at %s is not of this machine: whoever reaches its ports can run programs on it, "
                    "unless it asks for a token (docs/cluster.md)",
                    news.cluster.address,
                )
            self.versions = news.versions
        elif self._is_joined or not self.versions:
            raise news
        else:
            self._lost(news)

    def _lost(self, error: CxrzeroError | None = None) -> None:
        """The gateway ended: so did all that it had, and another one will try to join.

        Raises:
            RunError: it did so for too long.
        """
        self._drop()
        self._places, self._progress, self._tried_at = 0, {}, time.monotonic()
        said = str(error or f"the connection to the Ray cluster was lost ({self._asked.log} says more)")
        if not self.versions:
            raise RunError(f"Ray could not be started; {self._asked.log} says more")
        self._ended += [Ended(number, LostError(said)) for number in self._running]
        self._lost_at = self._lost_at or time.monotonic()
        left = self._asked.no_nodes_s - (time.monotonic() - self._lost_at)
        if left <= 0:
            raise RunError(f"{said}; the same command goes on from what is done")
        log.warning("%s: trying again for %.0f s", said, left)

    def _drop(self) -> None:
        """Be without a gateway; what Ray has started for it ends with it."""
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._connection.close()
        self._process = self._connection = None


def _no_answer(address: str) -> str:
    if not address:
        return f"a Ray cluster of this machine did not start within {START_S:.0f} s"
    return (
        f"no Ray cluster answers at {address} within {JOIN_S:.0f} s, though something listens there: give the port of "
        "its head (6379 by default), and in front of that of Ray's client server (10001) ray://"
    )
