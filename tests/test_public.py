"""What is public is what is exported, explained and shown on the page of the API, and nothing else is."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cxrzero
from cxrzero import DecodeOptions, Embeddings, FilmMaps, Prediction, Screener, Selection, choices, errors
from cxrzero.errors import ConfigError
from tests.support import REPO

Draw = Callable[..., Path]
EXPORTED = {name: getattr(cxrzero, name) for name in cxrzero.__all__ if name != "__version__"}
PAGE = (REPO / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_package_shows_what_it_exports() -> None:
    assert dir(cxrzero) == sorted(cxrzero.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        cxrzero.nothing  # noqa: B018


def test_type_checkers_are_told_of_each_lazy_name() -> None:
    (told,) = (node for node in ast.parse(inspect.getsource(cxrzero)).body if isinstance(node, ast.If))
    imports = [node for node in told.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == cxrzero._HOMES


def test_a_star_import_takes_what_is_public() -> None:
    code = "from cxrzero import *; print(*sorted(n for n in dir() if n[0] != '_' or n == '__version__'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(cxrzero.__all__)


@pytest.mark.parametrize("name", EXPORTED)
def test_each_name_is_explained_and_on_the_page(name: str) -> None:
    assert EXPORTED[name].__dict__["__doc__"], name
    assert f"::: cxrzero.{name}\n" in PAGE


def test_the_page_shows_nothing_else() -> None:
    shown = re.findall(r"^::: cxrzero\.(\S+)", PAGE, flags=re.MULTILINE)
    assert sorted(shown) == sorted([*EXPORTED, "choices"])


def needed() -> Iterator[type]:
    """Classes of ours that calling `Screener`, reading its rows and catching its errors meets."""
    methods = [Screener.predict, Screener.iter, Screener.embed, Screener.score, Screener.search, Screener.heatmap]
    places = [Screener.__init__, *methods, FilmMaps, Prediction, DecodeOptions, Selection, Embeddings, Embeddings.load]
    for place in places:
        for hint in typing.get_type_hints(place).values():
            ours = [part for part in (hint, *_parts(hint)) if getattr(part, "__module__", "").startswith("cxrzero")]
            yield from (part for part in ours if not getattr(part, "_is_protocol", False))  # of other libraries' types
    for explained in (Screener, *places):
        for name in re.findall(r"^ +(\w+Error):", explained.__doc__ or "", flags=re.MULTILINE):
            error: type = getattr(errors, name)
            yield from (base for base in error.__mro__ if issubclass(base, errors.CxrzeroError))


def _parts(hint: Any) -> Iterator[Any]:
    for part in typing.get_args(hint):
        yield part
        yield from _parts(part)


def test_what_the_api_needs_is_exported_and_nothing_else_is() -> None:
    assert {Screener, *needed()} == set(EXPORTED.values())


def test_each_word_that_an_option_takes_is_named() -> None:
    """Callers write words, not types: the explanation of a parameter has them all."""
    for place, explained in (
        (Screener.__init__, Screener),
        (Screener.heatmap, Screener.heatmap),
        (DecodeOptions, DecodeOptions),
        (Selection, Selection),
    ):
        text = inspect.getdoc(explained) or ""
        for name, hint in typing.get_type_hints(place).items():
            words = [part for part in (hint, *_parts(hint)) if typing.get_origin(part) is typing.Literal]
            for word in (word for part in words for word in typing.get_args(part)):
                assert f'"{word}"' in text, name


def test_words_on_the_page_are_those_of_the_signatures() -> None:
    shown = set(re.findall(r"^ +- (\w+)$", PAGE.partition("::: cxrzero.choices")[2], flags=re.MULTILINE))
    source = "".join(
        inspect.getsource(place) for place in (Screener.__init__, Screener.heatmap, DecodeOptions, Selection)
    )
    public = {name for name in vars(choices) if name[0].isupper() and not name.isupper()}
    assert shown == {name for name in public if re.search(rf": {name}\b", source)}


def test_options_from_python_are_checked_when_they_are_made() -> None:
    with pytest.raises(ConfigError, match="unknown flag latteral"):
        Selection(frozenset({"latteral"}))
    with pytest.raises(ConfigError, match="unknown view 'side'"):
        Selection(only=typing.cast(Any, "side"))
    with pytest.raises(ConfigError, match="invert 'maybe'"):
        DecodeOptions(invert=typing.cast(Any, "maybe"))
    with pytest.raises(ConfigError, match="at least 1"):
        DecodeOptions(fast_side=0)


def test_options_from_python_reach_the_rows(tiny_bundle: Path, png: Draw) -> None:
    screener = Screener(tiny_bundle, device="cpu", decode_options=DecodeOptions(max_pixels=100))
    (row,) = screener.predict(png("film.png", size=(11, 10)))
    assert row.error.startswith("too_many_pixels")
    screener = Screener(tiny_bundle, device="cpu", selection=Selection(frozenset({"low_resolution"})))
    (row,) = screener.predict(png("film.png", size=(11, 10)))
    assert (row.status, row.error.split(":")[0]) == ("skipped", "low_resolution")
