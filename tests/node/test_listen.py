"""`cxrzero listen` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.node.config import example
from tests.support import REPO
from tests.support.needs import modules

modules("pynetdicom", "highdicom", "sqlalchemy")

from tests.support.nodes import Caller, film  # noqa: E402

START_S = 60.0


def cxrzero(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["listen", *arguments])


@pytest.fixture
def toml(tmp_path: Path, tiny_bundle: Path) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(
        f'port = 0\nwatch = "incoming"\nwatch_seconds = 0.1\nsettle_seconds = 0.1\nstudy_quiet_seconds = 0.1\n'
        f'labels = ["pneumonia"]\nmodel = {json.dumps(str(tiny_bundle))}\n[limits]\nfree_disk_mb = 0\n',
        encoding="utf-8",
    )
    (tmp_path / "incoming").mkdir()
    return file


class Listener:
    """The command in a process of its own, and what it says."""

    def __init__(self, toml: Path) -> None:
        self.log = toml.with_name("log")
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "cxrzero", "listen", "--config", str(toml)]
            environment = {**os.environ, "PYTHONPATH": str(REPO)}
            self.process = subprocess.Popen(command, stderr=log, stdout=log, cwd=toml.parent, env=environment)
        self.port = int(self.wait_for(r"listens on 127\.0\.0\.1 port (\d+)"))

    def wait_for(self, pattern: str) -> str:
        due = time.monotonic() + START_S
        while time.monotonic() < due and self.process.poll() is None:
            if found := re.search(pattern, self.log.read_text(encoding="utf-8")):
                return found[1] if found.groups() else found[0]
            time.sleep(0.05)
        raise AssertionError(self.log.read_text(encoding="utf-8"))

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(START_S)


@pytest.fixture
def listener(toml: Path) -> Iterator[Listener]:
    listener = Listener(toml)
    yield listener
    listener.process.kill()
    listener.process.wait()


def test_films_from_both_doors_are_scored_until_sigterm(listener: Listener, toml: Path, png: Any) -> None:
    with Caller(SimpleNamespace(port=listener.port)) as caller:  # type: ignore[arg-type]
        assert caller.store(film(1, PatientName="CANARY^NAME"))[0] == 0
    png("incoming/a.png")
    due = time.monotonic() + START_S
    while "scored: 2" not in (shown := cxrzero("--config", str(toml), "--status").output):
        assert time.monotonic() < due, shown
        time.sleep(0.1)
    assert "received: 2" in shown

    second = cxrzero("--config", str(toml))
    assert second.exit_code == 1
    assert "another node runs with the state folder" in second.output
    assert cxrzero("--config", str(toml), "--failed").output.split() == [
        "name", "error", "study_instance_uid", "sop_instance_uid", "attempts",
    ]  # fmt: skip
    assert cxrzero("--config", str(toml), "--requeue", "all").exit_code == 0
    wrong = cxrzero("--config", str(toml), "--requeue", "film-9")
    assert (wrong.exit_code, "nothing has failed under this name" in wrong.output) == (2, True)

    assert listener.end(signal.SIGTERM) == 0
    log = listener.log.read_text(encoding="utf-8")
    assert log.endswith("The node has stopped.\n")
    assert "Traceback" not in log
    assert "CANARY" not in log
    state = toml.parent / "node"
    assert (state / "objects").stat().st_mode & 0o777 == 0o700
    with sqlite3.connect(toml.parent / "results.sqlite") as database:
        text = "".join(database.iterdump())
    assert str(toml.parent / "incoming" / "a.png") in text
    assert "2.25.1.1" in text
    assert "CANARY" not in text


def test_the_example_is_printed_without_a_configuration() -> None:
    result = cxrzero("--example")
    assert result.exit_code == 0
    assert result.stdout == example()


@pytest.mark.parametrize(
    ("text", "message", "code"),
    [
        ("prot = 1", "unknown key prot", 2),
        ('address = "0.0.0.0"', "can be reached from other machines", 2),
        ('[tls]\ncertificate = "none.pem"\nkey = "none.key"', "none.pem", 2),
        ('model = "no-such-model"', "no-such-model", 1),
    ],
)
def test_a_configuration_that_cannot_work(tmp_path: Path, text: str, message: str, code: int) -> None:
    (tmp_path / "node.toml").write_text(f"port = 0\n{text}\n", encoding="utf-8")
    result = cxrzero("--config", str(tmp_path / "node.toml"))
    assert message in result.output
    assert result.exit_code == code


def test_nothing_is_looked_at_where_no_node_has_run(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    result = cxrzero("--config", str(tmp_path / "node.toml"), "--status")
    assert result.exit_code == 2
    assert "no node has run" in result.output
    assert not (tmp_path / "node").exists()


def test_a_configuration_is_needed() -> None:
    result = cxrzero("--status")
    assert (result.exit_code, "--config" in result.output) == (2, True)
