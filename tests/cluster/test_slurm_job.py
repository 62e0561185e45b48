"""A job on a node, without Slurm: what it is given, what it says while it works and at its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxrzero.cluster.engine import Task
from cxrzero.cluster.slurm import engine, job
from cxrzero.errors import DeviceError, RunError


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plan's folder, of which the job 12_3 carries something out on a node called n7, with five cores."""
    (tmp_path / job.JOBS).mkdir()
    given = {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "3", "JOB_ID": "15", "CPUS_ON_NODE": "5"}
    for name, value in given.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    task = Task(4, 9, 0, 1, 1, "", b"", "", {}, str(tmp_path), "head")
    monkeypatch.setattr(job, "task_of", lambda folder, number: task)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_it_has_the_cores_of_its_job_and_says_how_far_it_is(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run_slice(task: Task, results: Path, notify: Callable[[int], None]) -> None:
        given.append((task.cpus, results))
        notify(17)
        notify(18)  # sooner than a look would come

    monkeypatch.setattr(job, "run_slice", run_slice)
    assert job.carry(plan, 4) == job.Said(4, "n7")
    assert given == [(5, plan / "results")]
    assert engine._films(job.news_file(plan, "12_3")) == 17
    assert engine._films(job.news_file(plan, "12_4")) == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_known_error_is_handed_on_and_an_unknown_one_is_named_by_its_kind_alone(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (DeviceError("no GPU here"), ValueError("Doe^Jane")):

        def run_slice(task: Task, results: Path, notify: Callable[[int], None], error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(job, "run_slice", run_slice)
        said = job.carry(plan, 4)
        assert (said.slice, said.node) == (4, "n7")
        assert isinstance(said.error, RunError)
        assert "Doe" not in str(said.error)
        assert ("no GPU here" in str(said.error)) == isinstance(error, DeviceError)
