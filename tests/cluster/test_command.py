"""`cxrzero predict --engine` as it is typed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.cluster.asked import digest, read, task_options, written
from cxrzero.cluster.engine import Engine
from cxrzero.cluster.inprocess import InProcess
from cxrzero.errors import RunError
from cxrzero.predict.options import PredictOptions
from tests.cluster.conftest import Whole, record, same

Run = Callable[..., Result]


@pytest.fixture
def run(films: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, whose engine needs no processes."""

    def here(more: str, options: PredictOptions, folder: Path) -> Engine:
        return InProcess(folder / "results")

    monkeypatch.setattr("cxrzero.cluster.local.open_local", here)
    return lambda *more: CliRunner().invoke(app, ["predict", "in", "--model", str(tiny_bundle), *map(str, more)])


def test_the_command_says_what_it_does_and_did(run: Run, whole: Whole) -> None:
    whole()
    result = run("--engine", "local", "--tasks", "4", "--out", "many.csv")
    assert result.exit_code == 3, result.output
    assert same("many.csv", "whole.csv")
    assert "in 4 tasks on processes of this machine; until it ends, many.plan has the plan" in result.output
    assert "16 of 16 films" in result.output
    assert "4/4 tasks, 0 running" in result.output
    assert "22 rows: 21 ok, 1 failed, 0 skipped" in result.output
    assert "Wrote many.csv, many.run.json" in result.output
    assert record("many")["command"].endswith("--engine local --tasks 4")


def test_a_dry_run_does_nothing(run: Run) -> None:
    before = sorted(os.listdir())
    result = run("--engine", "local=3", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Would read   16 files" in result.output
    assert "Would run    in tasks of some minutes on 3 processes of this machine" in result.output
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "locl"), "--engine takes local[=N], ray[=ADDRESS] or slurm"),
        (("--engine", "local=0"), "--engine"),
        (("--tasks", "3"), "--tasks says into how many tasks --engine cuts the films; give both"),
        (("--engine", "local", "--shard", "1/2", "--out", "part.csv"), "leave --shard out"),
        (("--engine", "local", "--out", "-"), "give --out a file"),
        (("--engine", "local", "--tasks", "0"), "--tasks"),
    ],
)
def test_wrong_usage_runs_nothing(run: Run, options: tuple[str, ...], words: str) -> None:
    before = sorted(os.listdir())
    result = run(*options)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.replace("│", " ").split())
    assert sorted(os.listdir()) == before


def test_a_table_that_is_there_stays(run: Run) -> None:
    Path("many.csv").write_text("mine", encoding="utf-8")
    result = run("--engine", "local", "--out", "many.csv")
    assert result.exit_code == 2
    assert "exists already" in result.output
    assert Path("many.csv").read_text(encoding="utf-8") == "mine"
    assert not Path("many.plan").exists()
    assert run("--engine", "local", "--out", "many.csv", "--overwrite").exit_code == 3


def test_reports_are_made_of_the_joined_table(run: Run) -> None:
    pytest.importorskip("highdicom")
    result = run("--engine", "local", "--out", "many.csv", "--dicom-sr", "reports")
    assert result.exit_code == 3, result.output
    assert list(Path("reports").rglob("*.dcm"))


def test_options_of_tasks_survive_the_way_to_a_node(options: Callable[..., PredictOptions]) -> None:
    asked = options(
        labels=("mass, left", "edema"), skip=("duplicate", "lateral"), pseudonym_key=Path("key"), pseudonymise=True,
        by="study", workers=3, cache=False, out="x.parquet", overwrite=False, top=3, engine="local", tasks=2,
    )  # fmt: skip
    of_task = task_options(asked)
    assert read(written(of_task)) == of_task
    assert (of_task.labels, of_task.skip, of_task.workers) == (asked.labels, ("lateral",), 3)
    assert (of_task.paths, of_task.by, of_task.out, of_task.engine) == ((), "image", None, None)
    with pytest.raises(RunError, match="other versions run"):
        read({"colour": "red"})


def test_what_decides_the_table_decides_whether_a_plan_is_gone_on_with(
    options: Callable[..., PredictOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same_run = {digest(options(**more)) for more in ({}, {"workers": 3}, {"tasks": 9}, {"device": "cpu"}, {"top": 1})}
    assert len(same_run) == 1
    others: list[dict[str, Any]] = [
        {"labels": ("edema",)},
        {"only": "frontal"},
        {"by": "study"},
        {"long": True},
        {"precision": "int8"},
    ]
    assert len({digest(options(**more)) for more in others} | same_run) == len(others) + 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert digest(options()) not in same_run
