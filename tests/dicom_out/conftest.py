"""A table that `predict` wrote of films with headers of patients, and the command line beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app

Run = Callable[..., Result]


@pytest.fixture
def cli() -> Run:
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Run) -> Run:
    """predict("in", …): the command, for two findings, by the tiny model; the current folder is the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> Result:
        asked = ("--labels", "pneumothorax,lump", "--model", tiny_bundle, "--device", "cpu", "--no-cache")
        return cli("predict", *arguments, *asked)

    return run
