"""The example of each public name is run, as it stands in its docstring."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cxrzero
from cxrzero import Screener
from tests.support import REPO

CLASSES = {name: getattr(cxrzero, name) for name in cxrzero.__all__ if name != "__version__"}
PAGE = (REPO / "docs" / "api.md").read_text(encoding="utf-8")


def members() -> Iterator[tuple[str, Any]]:
    """What the page shows of its classes, by their names."""
    for name, listed in re.findall(r"^::: cxrzero\.(\w+)\n    options:\n      members:\n((?: +- \w+\n)+)", PAGE, re.M):
        for member in re.findall(r"- (\w+)", listed):
            yield f"{name}.{member}", inspect.getattr_static(CLASSES[name], member)


EXPLAINED = {**CLASSES, **dict(members())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: drawn films are in films/."""
    found = tmp_path_factory.mktemp("examples")
    (found / "films").mkdir()
    for film in (*(REPO / "examples").glob("*.png"), *(REPO / "examples").glob("*.dcm")):
        shutil.copy(film, found / "films")
    return found


@pytest.fixture(scope="module")
def screener(folder: Path) -> Iterator[Screener]:
    with Screener(device="cpu", cache=folder / "cache") as made:
        yield made


def skip_what_is_missing(example: doctest.Example) -> None:
    """Of pandas and Parquet, which are no part of the core."""
    for word, module in (("to_pandas", "pandas"), ("parquet", "pyarrow")):
        if word in example.source and importlib.util.find_spec(module) is None:
            example.options[doctest.SKIP] = True


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_example(name: str, screener: Screener, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    text = EXPLAINED[name].__dict__["__doc__"] if isinstance(EXPLAINED[name], type) else EXPLAINED[name].__doc__
    names = {**CLASSES, "screener": screener, "numpy": np}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples, f"{name} has no example"
    for example in test.examples:
        skip_what_is_missing(example)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


def test_the_page_shows_members_of_these() -> None:
    assert {name.partition(".")[0] for name in EXPLAINED if "." in name} == {
        "Embeddings",
        "FilmMaps",
        "Predictions",
        "Screener",
    }
