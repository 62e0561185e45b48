"""A Slurm of the test's own: one node on loopback, its configuration, key and state in a temporary folder.

`serving()` starts munged, slurmctld and slurmd, and ends them and every job. Debian's Slurm 22.05 takes jobs within a
second. It needs neither systemd nor cgroups: processes are followed by their parents (proctrack/linuxproc).
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.orthanc import free_ports

PACKAGE = "slurm-wlm"
PARTITION = "films"
START_S = 30
TRIES = 3  # somebody may take a port between its choice and its use
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1
KillWait=1
ReturnToService=2
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName={partition} Nodes={node} Default=YES DefaultTime=60 MaxTime=1440 State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A Slurm that runs.

    Attributes:
        folder: its configuration, state and logs.
        node: the name of its one node, of which the partition is PARTITION.
        environment: with it, `sbatch` and its like speak to this Slurm.
    """

    folder: Path
    node: str
    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        """What a command such as `squeue` prints."""
        done = subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{command[0]} says: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def states(self) -> dict[str, str]:
        """State of each job, those of the last minutes too: {"2_0": "RUNNING"}."""
        lines = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def active(self) -> list[str]:
        """The jobs that wait or run."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i").splitlines()
        return [line.strip() for line in lines]


@contextmanager
def serving(*, cpus: int = 2, hidden: Path | None = None) -> Iterator[Slurm]:
    """Start Slurm; where there is none, the test is skipped (`needs`).

    Args:
        cpus: of the node, whatever it has; a job without more wishes takes one.
        hidden: a folder that the node does not see as it is: there it has an empty file system of its own.
    """
    programs = {name: needs.program(name, PACKAGE) for name in ("munged", "slurmctld", "slurmd", "sbatch", "squeue")}
    # Not the test's own folder: munged wants a socket that everybody can reach, and sockets want short paths.
    with tempfile.TemporaryDirectory(prefix="slurm-") as place:
        folder = Path(place)
        folder.chmod(0o711)
        for last in range(TRIES - 1, -1, -1):
            with ExitStack() as ended:
                slurm = Slurm(folder, "node1", os.environ | {"SLURM_CONF": str(folder / "slurm.conf")})
                _configure(slurm, cpus)
                _start(ended, slurm, programs, hidden)
                if _wait(partial(_is_idle, slurm)):
                    ended.callback(_end_jobs, slurm)
                    yield slurm
                    return
            if not last:
                logs = "\n".join(log.read_text(errors="replace")[-1500:] for log in folder.glob("*.log"))
                pytest.fail(f"Slurm does not start:\n{logs}")


def _configure(slurm: Slurm, cpus: int) -> None:
    for name in ("state", "spool"):
        (slurm.folder / name).mkdir(mode=0o700, exist_ok=True)
    key = slurm.folder / "munge.key"
    key.unlink(missing_ok=True)
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    control_port, node_port = free_ports(2)
    (slurm.folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=slurm.folder,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            node=slurm.node,
            partition=PARTITION,
            cpus=cpus,
            control_port=control_port,
            node_port=node_port,
        ),
        encoding="utf-8",
    )


def _start(ended: ExitStack, slurm: Slurm, programs: Mapping[str, str], hidden: Path | None) -> None:
    folder = slurm.folder
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    configuration = str(folder / "slurm.conf")
    node = [programs["slurmd"], "-D", "-f", configuration, "-N", slurm.node]
    if hidden:
        node = [*_hiding(hidden), *node]
    commands = {
        "munged": [programs["munged"], "--foreground", f"--key-file={folder}/munge.key", *munge],
        "slurmctld": [programs["slurmctld"], "-D", "-f", configuration],
        "slurmd": node,
    }
    for name, command in commands.items():
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=dict(slurm.environment), stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        ended.callback(_end, process)
        if name == "munged":
            _wait((folder / "munge.socket").exists)


def _hiding(folder: Path) -> list[str]:
    """What, before a command, has it see an empty file system in place of a folder, as the user that runs the test."""
    unshare, user, group = needs.program("unshare", "util-linux"), os.getuid(), os.getgid()
    namespace = [unshare, "--mount"] if user == 0 else [unshare, "--map-root-user", "--mount"]
    again = "" if user == 0 else f"{unshare} --user --map-user={user} --map-group={group}"
    command = [*namespace, "sh", "-c", f'mount -t tmpfs none "{folder}" && exec {again} "$@"', "sh"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        needs.missing(f"a mount of the test's own is not permitted here ({tried.stderr.strip()})")
    return command


def _is_idle(slurm: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=dict(slurm.environment), capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == "idle"


def _end_jobs(slurm: Slurm) -> None:
    """No job outlives its Slurm: its processes are not children of slurmd."""
    subprocess.run(
        ["scancel", "--full", "--signal=KILL", f"--partition={PARTITION}"], env=dict(slurm.environment), check=False
    )
    subprocess.run(["scancel", f"--partition={PARTITION}"], env=dict(slurm.environment), check=False)
    if not _wait(lambda: not slurm.active()):
        pytest.fail(f"jobs do not end: {slurm.states()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def _wait(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + START_S
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
