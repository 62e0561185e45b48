"""The process between driver and Ray: it joins the cluster, hands tasks on and says what becomes of them.

Ray ends a process that cannot reach its cluster any more, takes over signals, and prints what nodes say, on standard
output too. All this happens to this process; what is printed goes into a file in the plan's folder. It ends when the
driver does, however that ends, and takes a cluster of its own with it.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import Empty, SimpleQueue

from cxrzero.cluster.engine import Ended, Task
from cxrzero.cluster.ray.joined import Cluster, joined
from cxrzero.cluster.ray.needs import Needs
from cxrzero.cluster.task import as_typed

# Longest wait for an answer of Ray's before the driver is listened to again.
TICK_S = 0.1
# Between two reports where nothing ended.
REPORT_S = 0.5
# For the end of a cluster of our own when the driver was killed.
END_S = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a gateway is for.

    Attributes:
        address: see `cxrzero.cluster.ray.joined`.
        log: what Ray prints.
        no_nodes_s: see `cxrzero.cluster.ray.pool.Pool`.
    """

    address: str
    needs: Needs
    log: Path
    no_nodes_s: float


@dataclass(frozen=True, slots=True)
class Joined:
    """Said first: the cluster, and the versions of what is in between."""

    cluster: Cluster
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class News:
    """Said now and then.

    Attributes:
        places: tasks that the cluster has room for, those that it has included.
        ended, progress: as an engine says them.
        lines: what there is to tell.
    """

    places: int
    ended: list[Ended] = field(default_factory=list)
    progress: Mapping[int, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


# What the driver says: a task with the number of its try, or the number of one that it wants ended.
Order = tuple[int, Task] | int


def serve(connection: Connection, asked: Asked) -> None:
    """Work until the connection is closed. Says `Joined`, then `News`; an error in their place is the last word."""
    _settle(asked.log)
    try:
        with joined(asked.address) as cluster:
            for number in (signal.SIGINT, signal.SIGTERM):  # Ray has set its own
                signal.signal(number, signal.SIG_IGN)
            connection.send(Joined(cluster, {"ray": version("ray"), "python": platform.python_version()}))
            _work(connection, asked)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the driver has ended, or wants no more
        return
    except Exception as error:
        traceback.print_exc()  # into the log
        if not is_of_ray(error):  # else the cluster is gone, and ending says so
            connection.send(as_typed(error))


def is_of_ray(error: Exception) -> bool:
    """Whether Ray raises it where a cluster cannot be reached any more."""
    from ray.exceptions import RayError

    return isinstance(error, (RayError, ConnectionError))


def _work(connection: Connection, asked: Asked) -> None:
    from cxrzero.cluster.ray.pool import Pool

    lines: list[str] = []
    orders = _Orders(connection)
    pool, reported = Pool(asked.needs, asked.no_nodes_s, lines.append), 0.0
    try:
        while True:
            ended: list[Ended] = []
            for order in orders.take():
                if isinstance(order, int):
                    ended += pool.cancel(order)
                else:
                    pool.submit(order[1], order[0])
            ended += pool.look(TICK_S)
            if ended or lines or time.monotonic() - reported > REPORT_S:
                connection.send(News(pool.places, ended, pool.progress(), lines[:]))
                lines.clear()
                reported = time.monotonic()
    finally:
        pool.close()


class _Orders:
    """What the driver says, read in a thread as it comes.

    A slice may be larger than what a pipe holds, and so may a result: if both sides wrote at once and neither read,
    each would wait for the other for ever.
    """

    def __init__(self, connection: Connection) -> None:
        self._waiting: SimpleQueue[Order | None] = SimpleQueue()
        threading.Thread(target=self._read, args=(connection,), name="orders", daemon=True).start()

    def take(self) -> Iterator[Order]:
        """Those that are there. Raises EOFError where the driver says no more."""
        with suppress(Empty):
            while (order := self._waiting.get_nowait()) is not None:
                yield order
            raise EOFError

    def _read(self, connection: Connection) -> None:
        try:
            while True:
                self._waiting.put(connection.recv())
        except (EOFError, OSError):
            self._waiting.put(None)


def _settle(log: Path) -> None:
    """Leave signals to the driver, and the terminal; end some time after it at the latest."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        time.sleep(END_S)
        os._exit(1)
