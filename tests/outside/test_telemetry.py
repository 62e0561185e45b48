"""Telemetry is off before a library that has some is imported, and whoever wanted it, or came too early, is told."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cxrzero.outside.telemetry import VARIABLES, openvino_unheard, turn_off
from tests.support import REPO


@pytest.fixture(autouse=True)
def as_if_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not met cxrzero; what it sets is undone."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
    for name in [*sys.modules]:
        if name.split(".")[0] in ("onnxruntime", "openvino", "openvino_telemetry"):
            monkeypatch.delitem(sys.modules, name)


def onnxruntime(monkeypatch: pytest.MonkeyPatch, version: str) -> list[str]:
    """One that was imported already; what is called of it."""
    calls: list[str] = []
    early = SimpleNamespace(__version__=version, disable_telemetry_events=lambda: calls.append("off"))
    monkeypatch.setitem(sys.modules, "onnxruntime", early)
    return calls


def test_importing_cxrzero_alone_turns_it_off() -> None:
    code = "import cxrzero, os, sys; print(*(os.environ[name] for name in sys.argv[1:]))"
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", code, *VARIABLES]
    done = subprocess.run(command, env=clean, cwd=REPO, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1 1\n", "")


def test_nothing_is_said_where_nothing_was_wanted(caplog: pytest.LogCaptureFixture) -> None:
    turn_off()
    assert [os.environ[variable] for variable in VARIABLES] == ["1", "1"]
    assert caplog.messages == []


@pytest.mark.parametrize("word", ["1", "on", "YES", "True"])
def test_what_the_user_has_turned_off_stays_as_written(
    word: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLES[0], word)
    turn_off()
    assert os.environ[VARIABLES[0]] == word
    assert caplog.messages == []


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("word", ["0", "false", "off", "2"])
def test_whoever_wants_telemetry_is_told_once_that_there_is_none(
    variable: str, word: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, word)
    turn_off()
    turn_off()
    assert os.environ[variable] == "1"
    assert [message for message in caplog.messages if message.startswith(f"{variable}={word} is taken as 1")] == (
        caplog.messages
    )
    assert len(caplog.messages) == 1


def test_an_onnxruntime_that_came_first_is_hushed_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = onnxruntime(monkeypatch, "1.29.0")
    turn_off()
    turn_off()
    assert calls == ["off"]
    (message,) = caplog.messages
    assert message.startswith("onnxruntime was imported before cxrzero, with its telemetry on")


@pytest.mark.parametrize(("version", "word", "calls"), [("1.28.1", "", ["off"]), ("1.31.1", "1", [])])
def test_an_onnxruntime_that_tells_nobody_is_not_named(
    version: str,
    word: str,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = onnxruntime(monkeypatch, version)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", word)
    turn_off()
    assert made == calls
    assert caplog.messages == []


def test_what_is_said_reaches_a_terminal_without_any_set_up() -> None:
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-W", "error", "-c", "import cxrzero"]
    done = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stderr == "ORT_DISABLE_TELEMETRY=0 is taken as 1: cxrzero tells nobody about its use\n"


def test_openvinos_telemetry_cannot_be_imported_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SimpleNamespace()
    names = ["openvino_telemetry", "openvino_telemetry.main"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, theirs)
    with openvino_unheard():
        for name in names:
            with pytest.raises(ImportError):
                importlib.import_module(name)
    assert [sys.modules[name] for name in names] == [theirs, theirs]


def test_an_openvino_that_came_first_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace())
    with openvino_unheard():
        pass
    assert caplog.messages == []  # without the package it has a stub
    monkeypatch.setitem(sys.modules, "openvino_telemetry", SimpleNamespace())
    with openvino_unheard():
        pass
    (message,) = caplog.messages
    assert message.startswith("openvino was imported before cxrzero took it")
