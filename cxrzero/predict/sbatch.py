"""`--engine slurm=partition=cpu,time=60`: what each job is given, in sbatch's own words. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cxrzero.errors import ConfigError

# Long options of sbatch that say where a job runs and what it gets; the rest is ours, such as its array and its output.
TAKEN = (
    "account", "constraint", "cpus-per-task", "exclude", "gpus", "gpus-per-task", "gres", "licenses", "mem",
    "mem-per-cpu", "mem-per-gpu", "nice", "nodelist", "partition", "qos", "reservation", "time", "tmp",
)  # fmt: skip
CPUS, JOBS = "cpus-per-task", "jobs"
# Slurm's own MaxArraySize is 1001 unless a site says otherwise, and sites limit what a user may queue.
DEFAULT_JOBS = 1000

_NEXT = re.compile(r",(?=\s*[a-z-]+\s*=)")


@dataclass(frozen=True, slots=True)
class Sbatch:
    """Wishes for every job.

    Attributes:
        options: of sbatch, name → value, as they were given.
        jobs: at most so many wait or run at once.
    """

    options: tuple[tuple[str, str], ...] = ()
    jobs: int = DEFAULT_JOBS

    def __str__(self) -> str:
        wishes = [f"{name}={value}" for name, value in self.options]
        return ",".join(wishes if self.jobs == DEFAULT_JOBS else [*wishes, f"{JOBS}={self.jobs}"])


def parse_sbatch(text: str) -> Sbatch:
    """Read what was typed; a comma begins another option only where "NAME=" follows: "nodelist=n1,n2,time=60". Nothing
    typed is no wish.

    Raises:
        ConfigError: not of that form, an option that is not taken, or one that is there twice.
    """
    options: dict[str, str] = {}
    for part in _NEXT.split(text) if text.strip() else ():
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not value or not value.isprintable():
            raise ConfigError(
                "--engine slurm: write slurm=NAME=VALUE,NAME=VALUE, for example slurm=partition=cpu,time=60"
            )
        if name not in (*TAKEN, JOBS):
            raise ConfigError(f"--engine slurm: {name[:40]!r} is none of {', '.join((*TAKEN, JOBS))}")
        if name in options:
            raise ConfigError(f"--engine slurm: {name} is there twice")
        options[name] = value
    jobs = options.pop(JOBS, str(DEFAULT_JOBS))
    if not re.fullmatch(r"[1-9][0-9]{0,5}", jobs):
        raise ConfigError(f"--engine slurm: {JOBS} is a whole number from 1, how many jobs may wait or run at once")
    return Sbatch(tuple(options.items()), int(jobs))
