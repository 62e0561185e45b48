"""`cxrzero models pull` as a user runs it, in a process of its own, against a Hub on this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cxrzero.cards.card import FOLDER
from tests.registry.hubserver import COMMIT, REPOSITORY, Server

# Above the library's chunk of 10 MB, of which it keeps nothing before it is full.
LARGE = bytes(range(256)) * 100_000
LARGE_SHA = hashlib.sha256(LARGE).hexdigest()

# The command with one more card, and a converter that copies a bundle instead of converting.
PROGRAM = """
import shutil, sys, types
from pathlib import Path
cards, bundle = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
converter = types.ModuleType("cxrzero.convert")
def import_model(source, out, **options):
    shutil.copytree(bundle, out)
    return types.SimpleNamespace(bundle=out, lines=("recognised",))
converter.import_model = import_model
sys.modules["cxrzero.convert"] = converter
from cxrzero.cards import card as module
module.FOLDER = cards
{before}
from cxrzero.cli import main
try:
    main()
finally:
    print("loaded:", *(name for name in ("torch", "hf_xet") if name in sys.modules), file=sys.stderr)
"""

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def command(
    hub_server: Server, models: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    hub_server.files["model.safetensors"] = LARGE
    hub_server.lfs["model.safetensors"] = LARGE_SHA
    cards = tmp_path / "cards"
    cards.mkdir()
    card = yaml.safe_load((FOLDER / "xrayclip-vit-b-16.yaml").read_text(encoding="utf-8"))
    files = [
        {"name": "config.json", "sha256": None, "size": None},
        {"name": "model.safetensors", "sha256": LARGE_SHA, "size": len(LARGE)},
    ]
    card |= {"repository": REPOSITORY, "revision": COMMIT, "files": files, "files_source": "a test"}
    (cards / "large.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)

    def start(*options: str, before: str = "") -> subprocess.Popen[str]:
        program = PROGRAM.replace("{before}", before)
        arguments = [sys.executable, "-c", program, str(cards), str(tiny_bundle), "models", "pull", "large", *options]
        pipe = subprocess.PIPE
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    return start


def run(command: Command, *options: str, before: str = "") -> tuple[int, str]:
    with command("--accept-license", *options, before=before) as process:
        _, said = process.communicate(timeout=120)
    assert "Traceback" not in said
    return process.returncode, said


def test_pulled_imported_and_found_again(command: Command, hub_server: Server, models: Path) -> None:
    code, said = run(command)
    assert code == 0, said
    assert f"{REPOSITORY} at commit {COMMIT}, from {hub_server.url}" in said
    assert said.splitlines()[-1] == "loaded:"
    assert (models / "large" / "model.json").is_file()
    assert (models / "large" / "pull.json").is_file()
    assert (models / "downloads" / "large" / "model.safetensors").read_bytes() == LARGE
    hub_server.requests.clear()
    assert run(command)[0] == 0
    assert hub_server.requests == []


@pytest.mark.slow
def test_interrupted_and_gone_on_with(command: Command, hub_server: Server, models: Path) -> None:
    hub_server.stall_after = 21_000_000
    part = models / "downloads" / "large" / f"model.safetensors.{LARGE_SHA}.part"
    with command("--accept-license") as process:
        while process.poll() is None and not (part.is_file() and part.stat().st_size == 2 * 10 * 2**20):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"What was fetched is kept in {part.parent}; run the same command again, it goes on from there" in said
    assert "Traceback" not in said
    kept = part.stat().st_size
    assert kept == 2 * 10 * 2**20
    hub_server.stall_after = None
    hub_server.requests.clear()
    code, said = run(command)
    assert code == 0, said
    assert "model.safetensors: going on at 21.0 MB of 25.6 MB" in said
    assert [headers["range"] for headers in hub_server.headers_of("GET", "model.safetensors")] == [f"bytes={kept}-"]


@pytest.mark.slow
def test_what_goes_wrong_is_one_message_and_no_traceback(
    command: Command, hub_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with command() as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Accept it with --accept-license" in said
    assert hub_server.requests == []

    for code, words in ((401, "needs a login"), (403, "have to be accepted on the web page"), (404, "has no file")):
        hub_server.refuse = {"model.safetensors": code}
        failed, said = run(command)
        assert failed == 1
        assert words in said
        assert "Fetch by hand, from https://" in said
    hub_server.refuse = {}

    hub_server.redirect = "http://example.org/model.safetensors"
    failed, said = run(command)
    assert (failed, "example.org was to be asked without HTTPS; refused" in said) == (1, True), said
    hub_server.redirect = None

    hub_server.files["model.safetensors"] = LARGE[::-1]
    failed, said = run(command)
    assert (failed, "is not the file that was expected" in said) == (1, True), said
    hub_server.files["model.safetensors"] = LARGE[:-1]
    failed, said = run(command)
    assert (failed, "offers 25,599,999 bytes, expected 25,600,000; refused" in said) == (1, True), said

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    failed, said = run(command)
    assert (failed, "127.0.0.1:9 cannot be reached" in said) == (1, True), said
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example.org")
    failed, said = run(command)
    assert (failed, "HF_ENDPOINT must be an https:// address" in said) == (2, True), said


def test_a_file_that_cannot_grow_is_named(command: Command, hub_server: Server, models: Path) -> None:
    resource = pytest.importorskip("resource")
    # within the last chunk, of which the system then takes a part without a word
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (22_000_000, {resource.RLIM_INFINITY}))"
    code, said = run(command, before=limit)
    assert code == 1
    assert f"{LARGE_SHA}.part cannot be written: File too large" in said


@pytest.mark.slow
def test_a_login_is_read_where_the_user_says_so(
    command: Command, hub_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert run(command)[0] == 0
    assert {headers.get("authorization") for _, _, headers in hub_server.requests} == {None}
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(tmp_path / "others"))
    hub_server.requests.clear()
    code, said = run(command, "--token")
    assert code == 0, said
    assert {headers.get("authorization") for _, _, headers in hub_server.requests} == {"Bearer hf_mine"}
    assert "hf_mine" not in said
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(tmp_path / "third"))
    code, said = run(command, "--token")
    assert code == 2
    assert "set HF_TOKEN or run: hf auth login" in said


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_the_cache_of_the_hub_is_where_its_variables_say(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("HF_HOME")
    folder = tmp_path / "elsewhere"
    monkeypatch.setenv(variable, str(folder))
    snapshot = (folder / "hub" if variable == "HF_HOME" else folder) / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    program = "from cxrzero.registry.snapshot import find_snapshot; print(find_snapshot('org/name'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert os.path.samefile(done.stdout.strip(), snapshot)
