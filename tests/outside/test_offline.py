"""The Hub is out of reach of what a configuration names, and within reach again for the rest of the process."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.cli.failures import reports_failures
from cxrzero.outside.offline import VARIABLE, offline
from tests.support.needs import modules
from tests.support.pairs import TINY_CLIP, draw


@pytest.fixture(autouse=True)
def hub_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that are asked for; none is found."""
    names: list[str] = []

    def refuse(host: str, *_: Any, **__: Any) -> Any:
        names.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "nobody here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return names


def test_inside_every_request_is_refused(asked: list[str]) -> None:
    with offline, pytest.raises(OfflineModeIsEnabled):
        get_session().get(constants.ENDPOINT)
    assert asked == []


def test_afterwards_all_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for before, refused in ((None, False), ("0", False), ("1", True), ("YES", True)):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", refused)
        if before is not None:
            monkeypatch.setenv(VARIABLE, before)
        with offline:
            with offline:
                pass
            assert constants.HF_HUB_OFFLINE
            assert os.environ[VARIABLE].lower() in ("1", "yes")
        assert constants.HF_HUB_OFFLINE is refused
        assert os.environ.get(VARIABLE) == before


def test_of_two_that_overlap_the_last_opens_again() -> None:
    """As threads do, which end in any order."""
    offline.__enter__()
    offline.__enter__()
    offline.__exit__()
    assert (constants.HF_HUB_OFFLINE, os.environ[VARIABLE]) == (True, "1")
    offline.__exit__()
    assert (constants.HF_HUB_OFFLINE, os.environ.get(VARIABLE)) == (False, None)


def test_a_command_is_offline_unless_the_network_is_its_work() -> None:
    seen: list[str | None] = []
    look = lambda: seen.append(os.environ.get(VARIABLE))  # noqa: E731
    reports_failures(look)()
    reports_failures(look, network=True)()
    assert seen == ["1", None]


@pytest.mark.parametrize("word", ["0", "false"])
def test_whoever_wants_the_hub_is_told(
    word: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    assert CliRunner().invoke(app, ["models", "list"]).exit_code == 0
    (message,) = caplog.messages
    assert message.startswith(f"{VARIABLE}={word} is taken as 1")


FETCHED: dict[str, dict[str, Any]] = {
    "image tower": {"vision_cfg": {"timm_model_name": "hf-hub:org/tower"}},
    "text tower": {"text_cfg": {"hf_model_name": "org/words", "pad_id": 0, "eos_id": 2, "pool_type": "eos"}},
}


def architecture(changes: dict[str, Any]) -> dict[str, Any]:
    arch = json.loads(json.dumps(TINY_CLIP))
    for section, values in changes.items():
        arch[section] |= values
    return dict(arch)


@pytest.mark.parametrize("what", FETCHED)
def test_an_architecture_that_names_a_tower_of_the_hub_is_refused(what: str, tmp_path: Path, asked: list[str]) -> None:
    modules("torch", "open_clip", "transformers")
    (tmp_path / "arch.json").write_text(json.dumps(architecture(FETCHED[what])), "utf-8")
    command = ["train", str(draw(tmp_path / "films")), "--arch", str(tmp_path / "arch.json")]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")])
    assert asked == []
    assert result.exit_code == 2, result.output
    assert "names a tower that is not here, and nothing is fetched" in result.stderr


def test_a_folder_of_weights_that_names_one_is_refused_from_python_too(tmp_path: Path, asked: list[str]) -> None:
    modules("torch", "open_clip")
    from safetensors.torch import save_file

    from cxrzero.clip.architecture import build_model
    from cxrzero.convert import load_model
    from cxrzero.errors import CxrzeroError

    save_file(build_model(architecture({})).state_dict(), tmp_path / "open_clip_model.safetensors")
    config = {"model_cfg": architecture(FETCHED["image tower"])}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CxrzeroError, match="names a tower that is not here"):
        load_model(tmp_path)
    assert asked == []
