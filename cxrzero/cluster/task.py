"""A task, carried out on a node: a slice of the walk goes through the code of `predict --shard`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxrzero.cluster.engine import Task


def run_slice(task: Task, folder: Path, notify_progress: Callable[[int], None] = lambda films: None) -> None:
    """Carry a task out; its result appears in `folder`, whole or not at all.

    Args:
        folder: of results, such as `Plan.results`; made if it has to be.
        notify_progress: is told how many films are done, now and then.

    Raises:
        CxrzeroError: typed; a node's own troubles are `LostError`s only where nobody was left to raise anything.
    """
    raise NotImplementedError


def slice_for_bytes(task: Task, notify_progress: Callable[[int], None] = lambda films: None) -> dict[str, bytes]:
    """Carry a task out where the plan's folder cannot be written: the result as `Ended.files`. Raises as `run_slice`."""
    raise NotImplementedError
