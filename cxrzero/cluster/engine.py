"""What carries tasks out: an engine starts them where there is room and says how each of them ended, no more.

What is done again, what is counted and what is shown is the driver's (`cxrzero.cluster.driver`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cxrzero.errors import CxrzeroError, RunError


class LostError(RunError):
    """A task ended without a word: its process was killed, its node died, or it was never started."""


class NodeError(RunError):
    """A node is not fit for the run: it does not see the films, say. Another one may be."""


@dataclass(frozen=True, slots=True)
class Task:
    """One slice of the walk, with all that a node needs; it can be pickled.

    Attributes:
        number: of the slice, from 1.
        count: slices of the run.
        first: position of the slice's first film in the walk, from 0.
        films: of the slice.
        found: films of the whole walk.
        walk: hexadecimal digest of the whole walk (`cxrzero.predict.shardlog.Walk`).
        content: the slice's file (`cxrzero.cluster.slices`).
        sha256: of it.
        options: of `predict`, as `cxrzero.cluster.asked` writes them.
        folder: the current folder, from which relative paths start.
        host: name of the machine that made the plan.
        cpus: cores that it may use; None is all that its process may use. An engine sets it.
    """

    number: int
    count: int
    first: int
    films: int
    found: int
    walk: str
    content: bytes = field(repr=False)
    sha256: str
    options: Mapping[str, Any]
    folder: str
    host: str
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try of a task ended.

    Attributes:
        number: of the try, as it was given to `submit`.
        error: why there is no result; None where there is one.
        node: where it ran, as far as that is known.
        files: the result (`cxrzero.cluster.results`); None where it is in the plan's folder already.
    """

    number: int
    error: CxrzeroError | None = None
    node: str = ""
    files: Mapping[str, bytes] | None = field(default=None, repr=False)


class Engine(Protocol):
    """Starts tasks. Used by one thread."""

    @property
    def name(self) -> str:
        """For the run's record and for messages: "local", "ray", "slurm"."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Package → version of what the engine is made of, for the record."""

    def room(self) -> int:
        """Tasks that could be submitted now and would run, or wait where waiting is the engine's business."""

    def submit(self, task: Task, number: int) -> None:
        """Start a try of a task.

        Args:
            number: of this try, another for each; a task may be tried twice at once.

        Raises:
            RunError: it cannot, and will not be able to.
        """

    def ended(self, timeout: float) -> list[Ended]:
        """What ended since the last call, each once, the cancelled too; waits so many seconds for the first."""

    def progress(self) -> Mapping[int, int]:
        """Number of each try that has begun → films that it has done; not of one that waits for its turn."""

    def cancel(self, number: int) -> None:
        """End a try if it still runs."""

    def close(self) -> None:
        """End everything that runs."""
