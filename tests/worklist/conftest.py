"""A table that `predict` wrote of drawn films, and a worklist of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import prepare
from cxrzero.predict.run import run
from cxrzero.worklist.options import WorklistOptions
from cxrzero.worklist.run import Made, make_worklist

Predict = Callable[..., Path]
Worklist = Callable[..., Made]


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """predict("in", labels=…): the table of a folder; the current folder is the test's own."""
    monkeypatch.chdir(tmp_path)

    def made(*paths: str, labels: Sequence[str] = ("pneumonia", "edema"), **options: Any) -> Path:
        asked = {"model": (str(tiny_bundle),), "out": "predictions.csv", "device": "cpu", "cache": False, **options}
        run(prepare(PredictOptions(paths, labels=tuple(labels), **asked)))
        return Path(asked["out"])

    return made


@pytest.fixture
def worklist(tiny_bundle: Path) -> Worklist:
    """worklist(table, …): the folder worklist/ of a table that the tiny model made."""

    def made(table: Path, **options: Any) -> Made:
        return make_worklist(WorklistOptions(table, **{"model": (str(tiny_bundle),), "device": "cpu", **options}))

    return made
