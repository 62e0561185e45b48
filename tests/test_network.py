"""Nobody is told anything: no command that names no address asks for a name, sends a packet, or leaves a foreign file.

`models pull` names the Hub, and tests/registry has a Hub; an address names an archive, a store or a web server, and
tests/archive has archives, tests/remote stores and web servers.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import onnxruntime
import pytest

from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import prepare
from cxrzero.predict.run import run
from tests.support import REPO
from tests.support.bundle import write_bundle
from tests.support.needs import CI, empty_network
from tests.support.network import COMMAND, NOTHING, Watched, start, then_wait
from tests.support.pairs import draw

pytestmark = pytest.mark.slow

Watch = Callable[..., Watched]
FILMS, LABELS = str(REPO / "examples"), str(REPO / "examples" / "labels.csv")
FILM = f"{FILMS}/normal_16bit.dcm"
# Between them these load every library that cxrzero runs on; what needs more than the core runs where it is installed.
# A new backend, extra or dependency gets a line here.
COMMANDS = {
    "predict": ("predict", FILMS, "--labels", "pneumonia,edema", "--backend", "onnxruntime", "--out", "out/table.csv"),
    "predict with reports": ("predict", FILM, "--labels", "edema", "--dicom-sr", "out/sr", "--out", "out/table.csv"),
    "predict without a cache": ("predict", FILMS, "--labels", "edema", "--no-cache", "--out", "out/table.csv"),
    "predict in tasks": ("predict", FILMS, "--labels", "edema", "--engine", "local=2", "--out", "out/table.csv"),
    "search": ("search", "effusion", FILMS, "--out", "out/found.csv"),
    "eval": ("eval", FILMS, LABELS, "--out", "out/results"),
    "compare": ("compare", "{table}", "{other}", "--images", FILMS, "--out", "out/comparison"),
    "worklist": ("worklist", "{table}", "--out", "out/worklist"),
    "inspect": ("inspect", FILM),
    "models list": ("models", "list"),
    "models verify": ("models", "verify", "cxrzero-mini"),
}
WITH_TORCH = {
    "train": ("train", "{pairs}", "--out", "out/run", "--arch", "cxrzero-tiny", "--epochs", "1", "--batch-size", "8"),
    "models import": ("models", "import", "{weights}", "--out", "out/bundle"),
    "predict on torch": ("predict", FILMS, "--model", "{tiny}", "--backend", "torch", "--out", "out/table.csv"),
}
WITH_OPENVINO = {
    "predict on openvino": ("predict", FILMS, "--model", "{tiny}", "--backend", "openvino", "--out", "out/table.csv"),
}
WITH_RAY = {
    "predict on ray": ("predict", FILMS, "--labels", "edema", "--engine", "ray", "--out", "out/table.csv"),
}
WITH_SQLALCHEMY = {
    "predict into a database": ("predict", FILMS, "--labels", "edema", "--out", "out/results.sqlite"),
}
SCREENER = f"""
from cxrzero import Screener
(row,) = Screener().predict({f"{FILMS}/normal.png"!r}, ["edema"])
assert row.status == "ok"
"""
ONNXRUNTIME = f"""
import onnxruntime
onnxruntime.InferenceSession({str(REPO / "models" / "cxrzero-mini" / "text_encoder.onnx")!r})
"""
# It fails unless cxrzero says of itself, once, that this was too early.
TOO_LATE = f"""
import logging
{ONNXRUNTIME}
heard = []
logging.getLogger().addHandler(type("Ear", (logging.Handler,), {{"emit": lambda self, record: heard.append(record)}})())
{SCREENER}
(record,) = heard
assert "imported before cxrzero" in record.getMessage()
"""
TELEPHONE = """
import pathlib, socket
for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "127.0.0.1")):
    with socket.socket(family, socket.SOCK_DGRAM) as caller:
        caller.sendto(b"hello", (address, 9))
try:
    socket.getaddrinfo("example.org", 443)
except OSError:
    pathlib.Path.home().joinpath("note").touch()
"""
ORT_LEAVES = {
    "home/.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid",
    "home/.cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db",
    "tmp/.ses",
}
ORT_TELLS = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 29)


def has(module: str) -> bool:
    return CI or importlib.util.find_spec(module) is not None


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Start code in an empty network: watch("name of its folder", code, arguments)."""
    prefix, running = empty_network(), []

    def begin(name: str, code: str, arguments: Iterable[str] = ()) -> Watched:
        running.append(start(prefix, tmp_path / name.replace(" ", "-"), code, list(arguments)))
        return running[-1]

    yield begin
    for command in running:
        command.end()


def test_what_is_asked_and_left_is_seen(watch: Watch) -> None:
    seen = watch("telephone", TELEPHONE).seen()
    assert seen.names == ["example.org"]
    assert "192.0.2.1" in seen.addresses
    assert "127.0.0.1" not in seen.addresses
    assert seen.left == ["home/note"]


def test_no_command_asks_or_leaves_anything(watch: Watch, tmp_path: Path) -> None:
    """All at once, since each lives on for as long as ONNX Runtime takes to ask."""
    commands = dict(COMMANDS)
    table = str(tmp_path / "table.csv")
    run(prepare(PredictOptions((FILMS,), labels=("edema",), out=table)))
    places = {
        "tiny": write_bundle(tmp_path / "tiny"), "pairs": draw(tmp_path / "pairs", held_out=4), "table": table,
        "other": shutil.copy(table, tmp_path / "other.csv"),
    }  # fmt: skip
    if has("openvino"):
        commands |= WITH_OPENVINO
    if has("ray"):
        commands |= WITH_RAY
    if has("sqlalchemy"):
        commands |= WITH_SQLALCHEMY
    if has("transformers"):
        from tests.support.checkpoints import hf_folder

        commands |= WITH_TORCH
        places["weights"], _ = hf_folder(tmp_path, "clip")
    running = {
        name: watch(name, COMMAND, [argument.format(**places) for argument in arguments])
        for name, arguments in commands.items()
    }
    running["Screener"] = watch("Screener", then_wait(SCREENER))
    assert {name: command.seen() for name, command in running.items()} == dict.fromkeys(running, NOTHING)


@pytest.mark.skipif(not ORT_TELLS, reason="ONNX Runtime has telemetry from 1.29 on")
def test_the_same_time_is_enough_for_onnxruntime_to_ask_where_it_may(watch: Watch) -> None:
    """Alone, and imported before cxrzero, which nothing can undo: that this is said belongs to it."""
    running = [watch(name, then_wait(code)) for name, code in (("alone", ONNXRUNTIME), ("too late", TOO_LATE))]
    for seen in [command.seen() for command in running]:
        assert seen.names == ["mobile.events.data.microsoft.com"]
        assert set(seen.left) == ORT_LEAVES
