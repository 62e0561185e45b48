"""A process on a node of a Ray cluster: it loads the model once, then carries out one task after the other."""

from __future__ import annotations

import platform
import socket
from typing import NamedTuple

from cxrzero._version import __version__
from cxrzero.cluster.engine import Task
from cxrzero.cluster.task import as_typed, load, slice_as_bytes
from cxrzero.errors import CxrzeroError


class Ready(NamedTuple):
    """A worker says who it is: its machine and the versions there."""

    host: str
    cxrzero: str
    python: str


class Worker:
    """Called from threads of Ray's: `films` while `carry_out` is at work.

    What goes wrong is returned and not raised, so that it arrives as it is.
    """

    def __init__(self) -> None:
        self._films = 0

    def about(self) -> Ready:
        return Ready(socket.gethostname(), __version__, platform.python_version())

    def load(self, task: Task) -> CxrzeroError | None:
        """Have the model ready for tasks like this one."""
        try:
            load(task)
        except Exception as error:
            return as_typed(error)
        return None

    def carry_out(self, task: Task) -> dict[str, bytes] | CxrzeroError:
        """The files of a task's result (`cxrzero.cluster.results`)."""
        self._films = 0
        try:
            return slice_as_bytes(task, self._done)
        except Exception as error:
            return as_typed(error)

    def films(self) -> int:
        """Done of the task that is carried out."""
        return self._films

    def _done(self, films: int) -> None:
        self._films = films
