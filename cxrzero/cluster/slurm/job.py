"""A job on a node of Slurm: carries one slice of a plan out. Its log says where it ran, and nothing of a film."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cxrzero.cluster.plan import RESULTS, task_of
from cxrzero.cluster.task import as_typed, run_slice
from cxrzero.errors import CxrzeroError

JOBS = "jobs"
SECONDS_BETWEEN_NEWS = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a job says at its end: the number of its `slice`, its `node`, and the `error` where there is no result."""

    slice: int
    node: str
    error: CxrzeroError | None = None


def carry(plan: Path, number: int) -> Said:
    """Carry a slice out; its result appears in the plan's folder.

    submitit would have a job outlive SIGTERM and be submitted again by its own count. It ends, and the driver counts.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        task = replace(task_of(plan, number), cpus=int(os.environ["SLURM_CPUS_ON_NODE"]))
        run_slice(task, plan / RESULTS, _notifier(news_file(plan, this_job())))
    except Exception as error:
        return Said(number, node_name(), as_typed(error))
    return Said(number, node_name())


def this_job() -> str:
    """The id of the job that this process is, as Slurm writes it: "12_0"."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]


def node_name() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def news_file(plan: Path, job: str) -> Path:
    """Where a job writes how many films it has done."""
    return plan / JOBS / f"{job}.films"


def _notifier(file: Path) -> Callable[[int], None]:
    following = 0.0

    def notify(films: int) -> None:
        nonlocal following
        if time.monotonic() >= following:
            following = time.monotonic() + SECONDS_BETWEEN_NEWS
            file.write_text(str(films), encoding="ascii")

    return notify
