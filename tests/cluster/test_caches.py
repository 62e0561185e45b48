"""What tasks on other machines embed is kept there, in a file that no other machine writes, and becomes one cache."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxrzero.cache.store import FILE_NAME
from cxrzero.cli import app
from cxrzero.cluster.engine import Task
from cxrzero.cluster.task import run_slice
from cxrzero.predict import plan as predict_plan
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.run import run
from tests.cluster.conftest import FILMS, Whole, in_tasks, record, same

Options = Callable[..., PredictOptions]


def kept_in(folder: Path) -> set[bytes]:
    """The keys of images."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM entries WHERE kind = 'image'")}


def test_each_machine_keeps_what_it_embeds_and_one_has_it_all_after_a_merge(
    options: Options, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(("a.example", "../b", "a.example", "here"))
    monkeypatch.setattr(socket, "gethostname", lambda: "here")

    def elsewhere(task: Task, results: Path, notify: Callable[[int], None]) -> None:
        name = next(names)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda: name)
            run_slice(task, results, notify)

    asked = options(out="many.csv", engine="local", tasks=4, cache_by="content")
    for file in filter(Path.is_file, Path("in").rglob("*")):
        os.utime(file, ns=(10**18, 10**18))  # long ago: what changed just now is not kept
    in_tasks(asked, elsewhere)
    whole()
    assert same("many.csv", "whole.csv")
    used = record("many")["cache"]
    assert used["embedded"] > 4
    assert used["hashed"] == FILMS
    cache = Path(os.environ["CXRZERO_CACHE_DIR"])
    nodes = [cache / "nodes" / name for name in ("___b", "a_example")]
    assert sorted((cache / "nodes").iterdir()) == nodes
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in (cache / "nodes", *nodes))
    kept = [kept_in(folder) for folder in (cache, *nodes)]
    assert all(kept)
    info = CliRunner().invoke(app, ["cache", "info"]).output
    assert "2 caches of other machines" in info
    assert f"cxrzero cache merge {cache / 'nodes'}/*" in info.replace("\n", "")
    assert CliRunner().invoke(app, ["cache", "merge", *map(str, nodes)]).exit_code == 0
    assert kept_in(cache) == set().union(*kept) > kept[0]
    Path("in").rename("moved")
    moved = replace(options(out="again.csv", cache_by="content"), paths=("moved",))
    outcome = run(predict_plan.prepare(moved))
    assert (outcome.stats.embedded, outcome.stats.cached) == (0, used["embedded"] + used["cached"])


def test_a_task_of_the_driver_s_machine_uses_its_cache(options: Options) -> None:
    in_tasks(options(out="many.csv", engine="local", tasks=2))
    cache = Path(os.environ["CXRZERO_CACHE_DIR"])
    assert not (cache / "nodes").exists()
    assert (cache / FILE_NAME).exists()
    run(predict_plan.prepare(options(out="plain.csv")))
    assert record("plain")["cache"]["embedded"] == 0
