"""Tasks that are joined: what a single run writes, byte for byte."""

from __future__ import annotations

import filecmp
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxrzero.cluster.engine import Task
from cxrzero.cluster.slices import paths_of
from cxrzero.cluster.task import run_slice
from cxrzero.database import open_database
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import prepare
from cxrzero.predict.run import run
from cxrzero.predict.table_options import TableOptions
from cxrzero.predict.tabulate import tabulate
from tests.cluster.conftest import FILMS, ROWS, Whole, in_tasks, record, same

Options = Callable[..., PredictOptions]


@pytest.mark.parametrize(
    ("suffix", "asked"),
    [
        (".csv", {}),
        (".csv", {"tasks": 1}),
        (".csv", {"tasks": FILMS}),
        (".csv", {"by": "study", "study_aggregate": "max"}),
        (".csv", {"skip": ("duplicate", "low_resolution")}),
        (".csv", {"skip": ("duplicate",), "by": "study"}),
        (".csv", {"pseudonymise": True, "pseudonym_key": Path("key")}),
        (".csv", {"scores": True, "long": True}),
        (".jsonl", {}),
        (".parquet", {"scores": True}),
    ],
)
def test_the_table_is_that_of_one_run(options: Options, whole: Whole, suffix: str, asked: dict[str, Any]) -> None:
    only_tasks = {"tasks": 5, **asked}
    one = whole("whole" + suffix, **{name: value for name, value in asked.items() if name != "tasks"})
    many = in_tasks(options(out="many" + suffix, engine="local", **only_tasks))
    assert same("whole" + suffix, "many" + suffix)
    if one.studies:
        assert same("whole.studies.csv", "many.studies.csv")
    assert (many.stats.ok, many.stats.failed, many.stats.skipped) == (one.stats.ok, one.stats.failed, one.stats.skipped)
    assert many.exit_code == one.exit_code
    assert many.highest.of("edema") == one.highest.of("edema")
    assert (many.walk.ignored, many.walk.unopened) == (one.walk.ignored, one.walk.unopened) == (1, 0)
    assert not Path("many.plan").exists()
    ours, theirs = record("many"), record("whole")
    free = {"command", "started", "ended", "seconds", "cache", "engine", "options"}
    assert {key: ours[key] for key in ours.keys() - free} == {key: theirs[key] for key in theirs.keys() - free}
    carried_out = {"workers", "batch_size", "decode_in"}
    for name in ours["options"].keys() - carried_out:
        assert ours["options"][name] == theirs["options"][name], name


def test_the_record_says_who_did_it(options: Options) -> None:
    in_tasks(options(out="many.csv", engine="local=3", tasks=5))
    found = record("many")
    assert found["command"].endswith("--engine local=3 --tasks 5")
    engine = found["engine"]
    assert (engine["name"], engine["tasks"], engine["retries"]) == ("inprocess", 5, 0)
    (node,) = engine["nodes"]
    assert (node["tasks"], node["films"], node["gpu"]) == (5, FILMS, None)
    assert node["host"]
    assert node["processor"]
    assert "merged_from" not in found
    assert found["cache"]["embedded"] == ROWS - 1


def test_a_database_has_what_a_single_run_adds(options: Options, whole: Whole) -> None:
    pytest.importorskip("sqlalchemy")
    whole()
    outcome = in_tasks(options(out="many.sqlite", engine="local", tasks=5))
    assert outcome.growth
    assert outcome.growth.new == ROWS
    with open_database("many.sqlite"):
        tabulate(TableOptions("many.sqlite", out="table.csv"))
    assert same("table.csv", "whole.csv")
    again = in_tasks(options(out="many.sqlite", engine="local", tasks=3))
    assert again.growth
    assert again.growth.new == 0
    with sqlite3.connect("many.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE ended IS NOT NULL").fetchone() == (2,)
    connection.close()


def test_a_film_that_is_gone_when_its_task_runs_is_a_failed_row(options: Options, films: Path) -> None:
    def carry(task: Task, *more: Any) -> None:
        if task.number == 2:
            (films / "3.png").unlink(missing_ok=True)
        run_slice(task, *more)

    outcome = in_tasks(options(out="many.csv", engine="local", tasks=5), carry)
    assert outcome.exit_code == 3
    (row,) = [line for line in Path("many.csv").read_text(encoding="utf-8").splitlines() if "3.png" in line]
    assert ",failed," in row
    assert record("many")["counts"]["failed"] == 2


def test_a_container_is_one_task_s_and_its_films_stand_where_it_is_named(
    options: Options, films: Path, tiny_bundle: Path
) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        for name in ("0.png", "5.png", "sub/again.dcm", "sub/broken.png"):
            archive.write(films / name, name)
    paths = (*(f"in/{number}.png" for number in range(1, 6)), "a.zip", *(f"in/{number}.png" for number in (6, 7, 8)))
    whole = PredictOptions(paths, model=(str(tiny_bundle),), out="whole.csv", cache=False)
    run(prepare(whole))
    members: dict[int, int] = {}

    def carry(task: Task, *more: Any) -> None:
        members[task.number] = sum(path.startswith("a.zip!/") for path in paths_of(task))
        run_slice(task, *more)

    in_tasks(replace(whole, out="many.csv", engine="local", tasks=3), carry)
    assert same("many.csv", "whole.csv")
    assert members == {1: 0, 2: 4, 3: 0}


def test_films_that_the_cache_knows_are_not_embedded_again(options: Options) -> None:
    in_tasks(options(out="many.csv", engine="local", tasks=5))
    assert record("many")["cache"] == {"used": True, "cached": 0, "embedded": ROWS - 1, "hashed": 0, "notices": []}
    in_tasks(options(out="again.csv", engine="local", tasks=3))
    assert record("again")["cache"] == {"used": True, "cached": ROWS - 1, "embedded": 0, "hashed": 0, "notices": []}
    assert filecmp.cmp("many.csv", "again.csv", shallow=False)


def test_nodes_never_make_a_key(options: Options) -> None:
    from cxrzero.errors import ConfigError

    def carry(task: Task, *more: Any) -> None:
        Path("key").unlink(missing_ok=True)  # as on a node that has another home
        run_slice(task, *more)

    with pytest.raises(ConfigError, match="the pseudonym key key does not exist"):
        in_tasks(options(out="m.csv", engine="local", pseudonymise=True, pseudonym_key=Path("key")), carry)
    assert not Path("key").exists()
    shutil.rmtree("m.plan")
