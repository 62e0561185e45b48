"""Standard output and error as they come: any encoding, a reader who goes, closed, full; and signals.

The whole program runs each time, for what is tested is how its process begins and ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrzero.errors import ReaderGoneError
from tests.support.tables import table

pytestmark = [
    pytest.mark.slow,  # sixty processes
    pytest.mark.skipif(sys.platform == "win32", reason="pipes, descriptors and signals differ on Windows"),
]

Draw = Callable[..., Path]
Start = Callable[..., subprocess.Popen[Any]]
GONE = ReaderGoneError.exit_code

HELP, INSPECT, EVAL = ["--help"], ["inspect", "in"], ["eval", "p.csv", "l.csv", "--out", "results"]
PREDICT, SEARCH, WRONG = ["predict", "in", "--labels", "mass"], ["search", "mass", "in"], ["predict", "--ö…σ"]
TABLES = [[*PREDICT, "--out", "-"], [*SEARCH, "--out", "-"], ["merge", "part-1.csv", "part-2.csv", "--out", "-"]]
SHOWING = [
    *TABLES,
    INSPECT,
    EVAL,
    ["models", "list"],
    ["models", "info", "tiny"],
    ["models", "verify", "tiny"],
    ["prompts", "show", "--labels", "mass"],
    ["prompts", "check", "--labels", "no mass"],
    ["cache", "info"],
    ["--version"],
    HELP,
    ["predict", "--help"],
]
SAYING = [PREDICT, [*PREDICT, "--dry-run"], ["predict", "nowhere"], SEARCH, ["nosuch"], ["predict", "--nosuch"]]
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def start(tiny_bundle: Path, png: Draw, tmp_path: Path) -> Start:
    """Start a command in a folder with films, shards and tables."""
    for number in range(3):
        png(f"in/ö … {number}.png", number)
    (tmp_path / "tiny").symlink_to(tiny_bundle)
    for name, score in (("p.csv", "0.{:02}"), ("l.csv", "{:b}")):
        rows = [f"{row}.png,{score.format(row if name == 'p.csv' else row % 2)}" for row in range(40)]
        (tmp_path / name).write_text("\n".join(["image,mass", *rows]) + "\n", encoding="utf-8")

    def begin(arguments: list[str], environment: dict[str, str] | None = None, **streams: Any) -> subprocess.Popen[Any]:
        if arguments[0] == "merge":
            for shard in (1, 2):
                with begin([*PREDICT, "--shard", f"{shard}/2", "--out", f"part-{shard}.csv"]) as made:
                    made.communicate(timeout=120)
        model = ["--model", "tiny"] if arguments[0] in ("predict", "search", "prompts") else []
        # In bytes, for the tests themselves may run in an ASCII locale.
        command = [each.encode() for each in (sys.executable, "-m", "cxrzero", *arguments, *model)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **(environment or {})}, **streams)

    return begin


def closed(*descriptors: int) -> Callable[[], None]:
    """What a shell does for `>&-`."""

    def close() -> None:
        for each in descriptors:
            os.close(each)

    return close


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        *((each, ASCII_LOCALE) for each in (HELP, INSPECT, EVAL, PREDICT, SEARCH, WRONG)),
        *((each, {"PYTHONIOENCODING": "ascii:strict"}) for each in (HELP, PREDICT)),
        *((each, {"PYTHONIOENCODING": "latin-1"}) for each in (INSPECT, EVAL)),
        (EVAL, {"PYTHONIOENCODING": "cp437"}),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else next(reversed(each.values())),
)
def test_output_that_cannot_be_encoded_degrades(
    start: Start, tmp_path: Path, arguments: list[str], environment: dict[str, str]
) -> None:
    with start(arguments, environment) as process:
        output, error = process.communicate(timeout=120)
    assert process.returncode == (2 if arguments == WRONG else 0), error
    assert b"Traceback" not in error
    for written in (output, error):
        written.decode(environment.get("PYTHONIOENCODING", "ascii").partition(":")[0])
    if arguments == INSPECT:
        assert b"40 pixels" in output
        assert b" ... " in output  # the range of a step
    if arguments == EVAL:
        assert "–" in (tmp_path / "results/report.html").read_text(encoding="utf-8")
        assert json.loads((tmp_path / "results/metrics.json").read_text(encoding="utf-8"))
    if arguments == PREDICT:
        assert [row["path"] for row in table(tmp_path / "predictions.csv")] == [f"in/ö … {n}.png" for n in range(3)]


def test_labels_and_queries_are_utf_8_where_the_locale_knows_ascii_only(start: Start, tmp_path: Path) -> None:
    for arguments in (["predict", "in", "--labels", "große Lunge"], ["search", "große Lunge", "in"]):
        with start(arguments, ASCII_LOCALE | {"CXRZERO_CACHE_DIR": "kept"}) as process:
            _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert "große Lunge" in table(tmp_path / "predictions.csv")[0]


@pytest.mark.parametrize("arguments", SHOWING, ids=" ".join)
def test_a_reader_who_has_gone_ends_a_command_without_a_word(start: Start, arguments: list[str]) -> None:
    with start(arguments) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == GONE == 141, error
    for word in (b"roken pipe", b"Traceback", b"Exception ignored", b"rror", b"any more"):
        assert word not in error


@pytest.mark.parametrize("arguments", [*SAYING, TABLES[0], EVAL], ids=" ".join)
def test_so_does_one_who_read_both(start: Start, tmp_path: Path, arguments: list[str]) -> None:
    with start(arguments, stderr=subprocess.STDOUT) as process:
        process.stdout.close()
    assert process.returncode == GONE
    assert not (tmp_path / "predictions.csv").exists()


def test_head_of_a_long_table(start: Start, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("in/ö … 0.png\n" * 5000, encoding="utf-8")
    with start(["predict", "@list.txt", "--labels", "mass", "--out", "-"]) as process:
        assert process.stdout.readline().startswith(b"path,frame,")
        assert process.stdout.readline().startswith("in/ö … 0.png,1,".encode())
        process.stdout.close()
        assert b"roken" not in process.stderr.read()
    assert process.returncode == GONE


def test_results_of_an_evaluation_are_written_before_they_are_printed(start: Start, tmp_path: Path) -> None:
    with start(EVAL) as process:
        process.stdout.close()
    assert process.returncode == GONE
    assert sorted(os.listdir(tmp_path / "results")) == ["metrics.csv", "metrics.json", "report.html"]


@pytest.mark.parametrize(
    ("arguments", "which"), [(["models", "list"], (1,)), (EVAL, (2,)), (INSPECT, (0, 1, 2)), (HELP, (1,))]
)
def test_a_stream_that_is_closed_from_the_start(start: Start, arguments: list[str], which: tuple[int, ...]) -> None:
    with start(arguments, preexec_fn=closed(*which)) as process:
        output, error = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"Traceback" not in error
    assert bool(output) == (1 not in which)


def test_no_file_takes_the_place_of_a_closed_stream(start: Start, tmp_path: Path) -> None:
    """What a library prints would get into it."""
    code = (
        "import os; from cxrzero.cli.process import settle; settle(); number = os.open('new', os.O_CREAT | os.O_RDWR); "
        "os.write(number, str(number).encode())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, preexec_fn=closed(0, 1, 2), check=False)
    assert done.returncode == 0
    assert int((tmp_path / "new").read_text(encoding="utf-8")) > 2
    with start(PREDICT, preexec_fn=closed(0, 1, 2)) as process:
        assert process.wait(120) == 0
    assert len(table(tmp_path / "predictions.csv")) == 3


def test_a_table_for_a_closed_stream_is_refused(start: Start) -> None:
    with start([*PREDICT, "--out", "-"], preexec_fn=closed(1)) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert error == b"Error: standard output is closed; name a file with --out\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize(
    "arguments",
    [
        TABLES[0],
        TABLES[1],
        INSPECT,
        EVAL,
        ["models", "list"],
        HELP,
        ["models", "--help"],
        ["eval", "-h"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_a_full_disk_under_standard_output_is_said(start: Start, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full, start(arguments, stdout=full) as process:
        error = process.stderr.read()
    assert process.returncode == 1
    assert error.endswith(b"Error: standard output cannot be written: No space left on device\n"), error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_log_that_cannot_be_written_ends_no_run(start: Start, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full, start(PREDICT, stderr=full) as process:
        assert process.wait(120) == 0
    assert len(table(tmp_path / "predictions.csv")) == 3


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_with_their_code_and_keep_whole_rows(
    start: Start, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    (tmp_path / "list.txt").write_text("in/ö … 0.png\n" * 1_000_000, encoding="utf-8")
    partial = tmp_path / "predictions.csv.partial"
    with start(["predict", "@list.txt", "--labels", "mass"]) as process:
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 10_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(sent)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert b"Interrupted:" in error
    assert b"Traceback" not in error
    assert not (tmp_path / "predictions.csv").exists()
    assert partial.read_bytes().endswith(b"\n")


def test_ctrl_c_while_modules_are_loaded(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cxrzero.cli.process': os.kill(os.getpid(), signal.SIGINT)\n"
        "import cxrzero.__main__\n"
        "sys.meta_path.insert(0, Finder())\n"
        "cxrzero.__main__.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("arguments", SAYING[2:], ids=" ".join)
def test_what_is_wrong_keeps_its_exit_code_where_it_cannot_be_said(start: Start, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full, start(arguments, stderr=full) as process:
        assert process.wait(120) == (0 if arguments == SEARCH else 2)


def test_a_traceback_is_shown_as_every_other_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "in/x\x1b[2J\u202e.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with start([*PREDICT, "--fail-fast", "--debug"]) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"Traceback" in error
    assert rb"stopped at in/x\x1b[2J\u202e.png" in error
    assert b"\x1b" not in error
    assert "\u202e".encode() not in error
