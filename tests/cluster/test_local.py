"""Processes of this machine: killed at any time, they and the driver; the table is that of one run."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cxrzero.cluster import local
from cxrzero.cluster import run as job
from cxrzero.cluster.driver import Patience, Standing
from cxrzero.predict.options import PredictOptions
from tests.cluster.conftest import FILMS, Whole, record, same
from tests.support import REPO
from tests.support.pictures import picture

Options = Callable[..., PredictOptions]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def large_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "film.png"
    Image.fromarray(picture(1, (1400, 1200))).save(path, compress_level=1)
    return path


@pytest.fixture
def large_films(films: Path, large_film: Path) -> Path:
    """Some films that take their time."""
    for number in range(24):
        shutil.copy(large_film, films / f"large-{number:02}.png")
    return films


def test_processes_write_the_table_of_one_run(options: Options, whole: Whole) -> None:
    whole()
    outcome = job.run(job.prepare(options(out="many.csv", engine="local=2", tasks=5)))
    assert same("many.csv", "whole.csv")
    assert outcome.exit_code == 3
    engine = record("many")["engine"]
    assert (engine["name"], engine["tasks"], engine["retries"]) == ("local", 5, 0)
    assert sum(node["films"] for node in engine["nodes"]) == FILMS
    assert multiprocessing.active_children() == []


def test_killed_processes_are_replaced(options: Options, whole: Whole, large_films: Path) -> None:
    whole()
    killed: list[int] = []
    notes: list[str] = []

    def kill_one(standing: Standing) -> None:
        alive = [each.pid for each in multiprocessing.active_children() if each.pid not in killed]
        if standing.tasks_running and alive and alive[0] and len(killed) < 3:
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    asked = options(out="many.csv", engine="local=2", tasks=6)
    job.run(job.prepare(asked), on_news=kill_one, notify=notes.append, patience=Patience(look_s=0.2))
    assert len(killed) == 3
    assert same("many.csv", "whole.csv")
    assert record("many")["engine"]["retries"] == len(notes)
    assert 1 <= len(notes) <= 3  # one may have been between two tasks
    assert "a process ended by itself (SIGKILL, which the system sends when memory runs out)" in notes[0]


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "cxrzero", "predict", "in", "--engine", "local=2", "--tasks", "8", *more]


def begin(bundle: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("--model", str(bundle), "--out", "many.csv"),
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def parts() -> list[Path]:
    return list(Path("many.plan/results").glob("part-*"))


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them")
def test_a_driver_that_is_killed_takes_its_processes_along_and_goes_on(
    whole: Whole, large_films: Path, tiny_bundle: Path
) -> None:
    whole()
    with begin(tiny_bundle) as driver:
        wait_for(lambda: len(parts()) >= 2)
        its_own = children(driver.pid)
        driver.kill()
    wait_for(lambda: not any(map(is_running, its_own)))
    kept = len(parts())
    assert 2 <= kept < 8
    assert not Path("many.csv").exists()
    with begin(tiny_bundle) as driver:
        _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 3, said
    assert f"{FILMS + 24} films: {kept} of 8 tasks done" in said
    assert "films/s, 8/8 tasks, 0 running" in said
    assert same("many.csv", "whole.csv")
    assert record("many")["cache"]["embedded"] + record("many")["cache"]["cached"] == 21 + 24
    assert not Path("many.plan").exists()


def test_ctrl_c_keeps_what_is_done(whole: Whole, large_films: Path, tiny_bundle: Path) -> None:
    with begin(tiny_bundle) as driver:
        wait_for(lambda: len(parts()) >= 1)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does, to all
        _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130
    assert "Interrupted: what is done is kept in many.plan, and the same command goes on from there." in said
    assert "Traceback" not in said
    assert parts()


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {8, 3, 5, 1, 2}, raising=False)
    assert local._shares(2) == [[1, 2], [3, 5, 8]]
    assert local._shares(1) == [[1, 2, 3, 5, 8]]
    assert local._shares(7) == [[1], [2], [3], [5], [8], [1], [2]]


@pytest.mark.parametrize(
    ("films", "room", "device", "wanted", "tasks"),
    [
        (2_000_000, 8, "cpu", None, 400),
        (2_000_000, 4, "cuda", None, 40),
        (2_000_000, 8, "cpu", 16, 16),
        (1_000, 2, "auto", None, 8),  # four for each place
        (300, 2, "cpu", None, 3),  # none of less than a hundred
        (1, 8, "cpu", None, 1),
        (3, 8, "cpu", 16, 3),
    ],
)
def test_how_many_tasks_there_are(films: int, room: int, device: str, wanted: int | None, tasks: int) -> None:
    assert job.tasks_for(films, room, device, wanted) == tasks
