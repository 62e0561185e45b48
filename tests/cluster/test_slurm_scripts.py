"""examples/slurm: shards by hand, as docs/cluster.md shows them, run by a Slurm of one node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import REPO, slurm

SCRIPTS = REPO / "examples" / "slurm"
ENDED_S = 180


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.serving(cpus=4) as one:
        yield one


@pytest.fixture
def submit(cluster: slurm.Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """sbatch, with `cxrzero` on the PATH being the one under test, in a folder of the test's own; the job's id."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "cxrzero"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cxrzero "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    monkeypatch.chdir(tmp_path)

    def run(*command: str) -> str:
        done = subprocess.run(["sbatch", "--parsable", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def wait(cluster: slurm.Slurm) -> dict[str, str]:
    end = time.monotonic() + ENDED_S
    while cluster.active():
        assert time.monotonic() < end, cluster.states()
        time.sleep(0.2)
    return cluster.states()


def test_shards_and_their_merge_give_the_table_of_a_single_run(
    cluster: slurm.Slurm, submit: Callable[..., str], tiny_bundle: Path, png: Callable[..., Path], tmp_path: Path
) -> None:
    """A film that cannot be read is a row, not a failed job; a part that is there is not made again."""
    for seed in range(6):
        png(f"archive/{seed}.png", seed=seed)
    (tmp_path / "archive" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    model = tiny_bundle.resolve()
    submit_parts = [str(SCRIPTS / "shards.sh"), "archive/", "parts/", "--model", str(model), "--labels", "a,b"]
    parts = submit("--partition", slurm.PARTITION, "--array=1-2", *submit_parts)
    merge = submit(
        "--partition", slurm.PARTITION, f"--dependency=afterok:{parts}", str(SCRIPTS / "merge.sh"), "parts/", "all.csv"
    )
    states = wait(cluster)
    logs = "\n".join(log.read_text(encoding="utf-8") for log in tmp_path.glob("*.log"))
    assert [states[f"{parts}_1"], states[f"{parts}_2"], states[merge]] == ["COMPLETED"] * 3, logs

    alone = ["predict", "archive/", "--model", str(model), "--labels", "a,b", "--out", "alone.csv", "--no-cache"]
    assert subprocess.run([sys.executable, "-m", "cxrzero", *alone], check=False).returncode == 3
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()

    made = {part: part.stat().st_mtime_ns for part in (tmp_path / "parts").glob("*.csv")}
    (tmp_path / "parts" / "part-2.csv").unlink()
    again = submit("--partition", slurm.PARTITION, "--array=1-2", *submit_parts)
    states = wait(cluster)
    assert [states[f"{again}_1"], states[f"{again}_2"]] == ["COMPLETED"] * 2
    later = {part: part.stat().st_mtime_ns for part in (tmp_path / "parts").glob("*.csv")}
    assert [part.name for part in sorted(made) if later[part] == made[part]] == ["part-1.csv"]


def test_a_shard_that_cannot_run_fails_and_nothing_is_merged(
    cluster: slurm.Slurm, submit: Callable[..., str], tmp_path: Path
) -> None:
    parts = submit("--partition", slurm.PARTITION, "--array=1-1", str(SCRIPTS / "shards.sh"), "nowhere/", "parts/")
    assert wait(cluster)[f"{parts}_1"] == "FAILED"
    assert "nowhere" in next(tmp_path.glob("*.log")).read_text(encoding="utf-8")
    assert not list((tmp_path / "parts").iterdir())
