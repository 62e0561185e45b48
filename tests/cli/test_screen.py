"""What a person sees in a terminal: the program runs in one, and its bytes are carried out on a small screen."""

from __future__ import annotations

import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.hostile import HOSTILE, SHOWN

if sys.platform == "win32":
    pytest.skip("terminals differ on Windows", allow_module_level=True)
import fcntl
import pty
import termios

Draw = Callable[..., Path]
Show = Callable[..., tuple[list[str], bytes]]

ESCAPE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


def screen(output: str) -> list[str]:
    """Lines after all of `output` was carried out: what rich writes, and nothing else, is known."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(output):
        if found := ESCAPE.match(output, place):
            private, number, final = found.groups()
            if final == "K":
                assert number == "2"
                lines[row] = ""
            elif final == "A":
                row = max(0, row - int(number or 1))
            else:  # colours, and whether the cursor is seen
                assert final == "m" or (private and number == "25"), found[0]
            place = found.end()
            continue
        char = output[place]
        place += 1
        if char == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif char == "\r":
            column = 0
        else:
            assert char.isprintable(), hex(ord(char))
            lines[row] = lines[row].ljust(column)[:column] + char + lines[row][column + 1 :]
            column += 1
            continue
        column = 0
    return [line.rstrip() for line in lines]


@pytest.fixture
def show(tmp_path: Path, tiny_bundle: Path) -> Show:
    """Run a command in a terminal; lines on the screen, and the bytes.

    `into`: what its standard output is piped to. `asks`: whether it asks the small model.
    """

    def run(
        *arguments: str,
        width: int = 100,
        term: str = "xterm",
        into: str = "",
        code: int = 0,
        asks: bool = True,
        **more: str,
    ) -> tuple[list[str], bytes]:
        terminal, end = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment |= {"TERM": term, "LC_ALL": "C.UTF-8"}
        command = [sys.executable, "-m", "cxrzero", *arguments, *(["--model", str(tiny_bundle)] if asks else [])]
        with subprocess.Popen(
            [each.encode() for each in (["sh", "-c", f"{shlex.join(command)} | {into}"] if into else command)],
            cwd=tmp_path, env={**environment, **more}, stdin=end, stdout=end, stderr=end,
        ) as process:  # fmt: skip
            os.close(end)
            written = b""
            while part := _read(terminal):
                written += part
        os.close(terminal)
        assert process.returncode == code, written
        return screen(written.decode("utf-8")), written

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody has the other end any more
        return b""


def test_a_short_run_ends_with_a_whole_bar_and_a_preview(show: Show, png: Draw) -> None:
    png(f"in/{HOSTILE}.png", 1)
    png("in/a.png", 2)
    lines, written = show("predict", "in", "--labels", "mass")
    (bar,) = (line for line in lines if line.startswith("Screening"))
    assert "2 of 2" in bar
    assert b"/?" not in written
    assert any(re.fullmatch(r"  0\.\d{3}  in/a\.png", line) for line in lines)
    assert any(re.fullmatch(r"  0\.\d{3}  (.*)", line) and f"in/{SHOWN}.png"[-27:] in line for line in lines)


def test_a_table_on_the_screen_has_no_bar_over_it_and_is_harmless(show: Show, png: Draw) -> None:
    for number in range(5):
        png(f"in/{number}.png", number)
    png(f"in/{HOSTILE}.png", 6)
    lines, written = show("predict", "in", "--labels", "mass", "--out", "-")
    assert b"Screening" not in written
    first = next(index for index, line in enumerate(lines) if line.startswith("path,frame,"))
    assert [line.partition(",")[0] for line in lines[first + 1 : first + 7]] == [
        *(f"in/{number}.png" for number in range(5)), f"in/{SHOWN}.png",
    ]  # fmt: skip


def test_so_has_one_that_comes_through_a_pipe(show: Show, png: Draw, tmp_path: Path) -> None:
    """`head` writes to the same terminal, while the run goes on."""
    png("in/a.png", 1)
    (tmp_path / "list.txt").write_text("in/a.png\n" * 5000, encoding="utf-8")
    lines, written = show("predict", "@list.txt", "--labels", "mass", "--out", "-", into="head -2")
    assert b"Screening" not in written
    assert [line.partition(",")[0] for line in lines if "," in line and line[0] in "pi"] == ["path", "in/a.png"]
    assert b"roken" not in written


def test_a_search_clears_its_bar_before_its_table(show: Show, png: Draw) -> None:
    png("in/a.png", 1)
    lines, written = show("search", "mass", "in", "--out", "-")
    assert sum(line.startswith("rank,cosine,path,") for line in lines) == 1
    assert any(line.startswith("1,") and ",in/a.png," in line for line in lines)
    assert b"/?" not in written


@pytest.mark.parametrize("label", ["mass", "hydropneumothorax", "胸水"])
def test_a_narrow_terminal_loses_nothing(show: Show, png: Draw, label: str) -> None:
    png("in/a film with quite a long name.png", 1)
    (Path(png("in/x.png")).parent / "x.png").write_bytes(b"")
    lines, _ = show("predict", "in", "--labels", label, width=40, code=3)
    text = "\n".join(lines)
    assert "failed: empty_file" in text
    assert label in text
    assert re.search(r"^  0\.\d{3}  …ilm with quite a long name\.png$", text, re.MULTILINE), text


def test_a_dumb_terminal_gets_lines_without_escapes(show: Show, png: Draw) -> None:
    png("in/a.png", 1)
    _, written = show("predict", "in", "--labels", "mass", term="dumb")
    assert b"\x1b" not in written
    assert b"Screening" not in written


def test_no_colour_where_none_is_wanted(show: Show) -> None:
    _, written = show("predict", "nowhere", code=2, NO_COLOR="1")
    assert b"Error: nowhere" in written
    assert b"\x1b[31m" not in written


def test_names_of_models_can_be_typed_and_facts_stay_in_the_screen(show: Show) -> None:
    lines, _ = show("models", "list", width=80, asks=False)
    assert any(line.startswith("xraysiglip-vit-l-16-siglip-384 ") for line in lines)
    assert max(map(len, lines)) <= 80
    lines, _ = show("models", "info", "cxrzero-mini", width=80, asks=False)
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert 'templates positive "{}", negative "no {}"' in text
    assert not re.search(r'[{\[]"', text)  # nothing is shown as JSON
    assert {"Training", "Calibration", "Where its maps point", "Results"} <= set(lines)
    lines, _ = show("models", "info", "chexzero", width=80, asks=False)
    assert "  file best_64_5e-05_original_22000_0.864.pt" in [line[:45].rstrip() for line in lines]
