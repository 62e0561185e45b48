"""Runs over a mixed archive, whole and in tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrzero.cluster import run as job
from cxrzero.cluster.engine import Engine
from cxrzero.cluster.inprocess import Carry, InProcess
from cxrzero.cluster.task import run_slice
from cxrzero.predict import plan as predict_plan
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.run import Outcome, run
from tests.support.films import mixed_archive

FILMS, ROWS = 16, 22

Whole = Callable[..., Outcome]


@pytest.fixture
def films(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `in`, in the current folder; a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    mixed_archive(tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def options(films: Path, tiny_bundle: Path) -> Callable[..., PredictOptions]:
    return lambda **more: PredictOptions((films.name,), **{"model": (str(tiny_bundle),), **more})


@pytest.fixture
def whole(options: Callable[..., PredictOptions]) -> Whole:
    """One plain run over everything, without the cache."""
    return lambda out="whole.csv", **more: run(predict_plan.prepare(options(out=out, cache=False, **more)))


def in_tasks(options: PredictOptions, carry: Carry = run_slice, room: int = 2, **how: Any) -> Outcome:
    """The same in tasks, all in this process."""

    def open_engine(spec: str, options: PredictOptions, folder: Path) -> Engine:
        return InProcess(folder / "results", room, carry)

    return job.run(job.prepare(options), open_engine=open_engine, **how)


def record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{name}.run.json").read_text(encoding="utf-8"))
    return found


def same(one: str, other: str) -> bool:
    return Path(one).read_bytes() == Path(other).read_bytes()
