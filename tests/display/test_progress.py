"""How far a call is, in a log, a terminal and a notebook."""

from __future__ import annotations

import io
import itertools
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cxrzero import Screener
from cxrzero.display import progress
from cxrzero.display.progress import Bar, Watched, sentence
from cxrzero.sources.given import Given
from tests.support.pictures import picture

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def screener(tiny_bundle: Path) -> Screener:
    return Screener(tiny_bundle, device="cpu", cache=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at it."""
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=itertools.count().__next__))
    monkeypatch.setattr(progress, "COUNT_AFTER_S", 0)


def test_sentences() -> None:
    assert sentence(0, None, 0) == "0 images"
    assert sentence(1, None, 2) == "1 image, 0.5 images/s"
    assert sentence(120, 8000, 60) == "120 of 8,000 images, 2.0 images/s, 65 min 40 s left"
    assert sentence(8, 8, 4) == "8 of 8 images, 2.0 images/s"


def test_nothing_is_said_unasked(screener: Screener, capfd: pytest.CaptureFixture[str]) -> None:
    screener.predict([picture(1)], ["edema"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("call", ["predict", "iter", "embed", "search"])
def test_lines_in_a_log(screener: Screener, clock: None, capfd: pytest.CaptureFixture[str], call: str) -> None:
    arguments = {"predict": (["edema"],), "iter": (["edema"],), "embed": (), "search": ("edema",)}[call]
    found = getattr(screener, call)([picture(number) for number in range(25)], *arguments, progress=True)
    assert len(list(found)) == (20 if call == "search" else 25)
    out, err = capfd.readouterr()
    assert out == ""
    *_, last = err.splitlines()
    assert last.startswith("25 of 25 images, ")
    assert 1 < len(err.splitlines()) < 10


def test_a_bar_in_a_terminal(screener: Screener, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    screener.predict([picture(number) for number in range(3)], ["edema"], progress=True)
    assert "3 of 3 images, " in terminal.getvalue()
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is shown again
    monkeypatch.setenv("TERM", "dumb")
    dumb = io.StringIO()
    dumb.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", dumb)
    screener.predict([picture(1)], ["edema"], progress=True)
    assert "\x1b" not in dumb.getvalue()


def test_a_bar_in_a_notebook(
    screener: Screener, clock: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[Bar] = []

    class Handle:
        update = staticmethod(shown.append)

    def display(value: Bar, *, display_id: bool) -> Handle:
        shown.append(value)
        return Handle()

    kernel: Any = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    screener.predict([picture(1), picture(2)], ["edema"], progress=True)
    assert capfd.readouterr() == ("", "")
    assert repr(shown[-1]).startswith("2 of 2 images, ")
    assert shown[-1]._repr_html_().startswith('<progress value="2" max="2"></progress> 2 of 2 images, ')
    kernel.kernel = None  # IPython in a terminal
    screener.predict([picture(1)], ["edema"], progress=True)
    assert "1 of 1 image, " in capfd.readouterr().err


def test_what_is_broken_off_says_how_far_it_came(clock: None, capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(KeyError), Watched(lambda: None) as watched:
        watched()
        raise KeyError
    assert capfd.readouterr().err.startswith("1 image, ")


def test_folders_are_counted_beside_the_work(tmp_path: Path, png: Draw) -> None:
    for number in range(4):
        png(f"in/{number}.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'in' / '1.png'}\n", encoding="utf-8")
    folder, listed = tmp_path / "in", f"@{tmp_path / 'list.txt'}"
    assert Given(folder).tally() == 4
    given: list[Any] = [folder, listed, picture(1), ("x", folder / "2.png")]
    assert Given(given).tally() == 4 + 1 + 2
    assert Given(given[2:]).tally() == 2
    assert Given(iter(given)).tally() is None
    gone = Given([listed])
    (tmp_path / "list.txt").unlink()
    assert gone.tally() is None
    with Watched(Given(folder).tally) as watched:
        watched._tally()
        assert watched._total == 4
