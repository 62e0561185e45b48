"""What Slurm says of our jobs and does with them, by its own commands: no accounting database is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from cxrzero.errors import RunError

COMMANDS = ("sbatch", "scancel", "scontrol", "squeue", "srun")
ANSWER_S = 60
# squeue(1), JOB STATE CODES; every other state is of a job that waits, runs or is about to end.
OVER = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
})  # fmt: skip
# Why a job waits that nothing but a change of it or of the cluster lets start (job reasons of squeue(1)).
NEVER = frozenset({
    "AssocMaxWallDurationPerJobLimit", "AssociationTimeLimit", "BadConstraints", "InvalidAccount", "InvalidQOS",
    "PartitionNodeLimit", "PartitionTimeLimit", "QOSMaxWallDurationPerJobLimit", "QOSTimeLimit",
})  # fmt: skip
# What Slurm says while its controller starts again or has too much to do.
PASSING = ("Unable to contact slurm controller", "Socket timed out", "standby mode", "Resource temporarily unavailable")


class SlurmError(RunError):
    """Slurm does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as Slurm sees it: `state` in capitals, the `node` it has or had, and the `reason` why it waits or ended."""

    state: str
    node: str
    reason: str

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def runs(self) -> bool:
        return self.state == "RUNNING"

    @property
    def has_not_begun(self) -> bool:
        return self.state in ("PENDING", "CANCELLED")

    @property
    def will_never_start(self) -> bool:
        return self.state == "PENDING" and self.reason in NEVER


CANCELLED = Job("CANCELLED", "", "")


def check_commands() -> None:
    """Raises a `RunError` where Slurm's commands are not."""
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise RunError(
                f"--engine slurm needs {command}, which is not here: start it where jobs are submitted, on a login node"
            )


def jobs_named(name: str) -> dict[str, Job]:
    """Our jobs of this name by their id ("12_0"), those too that ended in the last minutes (Slurm's MinJobAge)."""
    wanted = [f"--name={name}", f"--user={os.getuid()}", "--states=all"]
    lines = _run("squeue", "--noheader", "--array", *wanted, "--format=%i|%T|%N|%r").splitlines()
    parts = (line.split("|", 3) for line in lines if line.count("|") >= 3)
    return {job.strip(): Job(state, node, reason) for job, state, node, reason in parts}


def cancel(jobs: Iterable[str]) -> None:
    """End jobs; those that are over already do not matter."""
    if ids := list(jobs):
        _run("scancel", "--quiet", *ids)


def version() -> str:
    """Of Slurm: "22.05.8"."""
    return _run("scontrol", "--version").split()[-1]


def most_of_an_array() -> int:
    """How many jobs an array may have here: one less than MaxArraySize, of which 0 says that arrays are off."""
    for line in _run("scontrol", "show", "config").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value) - 1)
    raise SlurmError("Slurm does not say its MaxArraySize (scontrol show config)")


def _run(*command: str) -> str:
    """What a command prints. Ctrl-C is not for the command, which may be the one that ends what is interrupted."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_S, check=False, start_new_session=True
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"Slurm does not answer: {command[0]} took more than {ANSWER_S} s") from None
    if done.returncode:
        raise SlurmError(f"Slurm: {last_line(done.stderr) or f'{command[0]} ended with {done.returncode}'}")
    return done.stdout


def may_pass(said: str) -> bool:
    """Whether what a command says may be otherwise in some minutes."""
    return any(words in said for words in PASSING)


def last_line(text: str) -> str:
    """The last line that a command said, which is the one with the reason."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
