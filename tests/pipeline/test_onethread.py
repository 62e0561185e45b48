"""A Screener serves one thread at a time, until it is closed, in the process that made it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cxrzero import Archives, Objects, Screener, UsageError
from tests.support.pictures import picture

Draw = Callable[..., Path]


@pytest.fixture
def screener(tiny_bundle: Path, tmp_path: Path) -> Iterator[Screener]:
    with Screener(tiny_bundle, device="cpu", cache=tmp_path / "cache") as made:
        yield made


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def calls(screener: Screener, film: Path) -> list[Callable[[], Any]]:
    kept = screener.embed(film)
    return [
        lambda: screener.predict(film, ["edema"]),
        lambda: screener.iter(film, ["edema"]),
        lambda: screener.embed(film),
        lambda: screener.score(kept, ["edema"]),
        lambda: screener.search(kept, "edema"),
        lambda: screener.embed_texts(["edema"]),
        lambda: screener.heatmap(film, ["edema"]),
    ]


def test_a_second_thread_is_refused(screener: Screener, other: ThreadPoolExecutor, png: Draw) -> None:
    asked = calls(screener, png("a.png", 1))
    rows = screener.iter([picture(1), picture(2)], ["edema"])
    first = next(rows)
    for call in [*asked, screener.close]:
        with pytest.raises(UsageError, match="another thread is using this Screener"):
            other.submit(call).result()
    [second] = rows  # which went on, and is right
    assert [first.scores, second.scores] == [
        row.scores for row in screener.predict([picture(1), picture(2)], ["edema"])
    ]
    for call in asked:
        other.submit(call).result()  # one after the other is fine


def test_many_threads_at_the_same_time_get_right_rows_or_an_error(screener: Screener) -> None:
    films = [picture(number) for number in range(6)]
    expected = [row.scores for row in screener.predict(films, ["edema"])]

    def ask(_: int) -> bool:
        try:
            return [row.scores for row in screener.predict(films, ["edema"])] == expected
        except UsageError as error:
            return "another thread" in str(error)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))
    assert [row.scores for row in screener.predict(films, ["edema"])] == expected


def test_one_thread_may_ask_in_between(screener: Screener) -> None:
    films = [picture(1), picture(2)]
    pairs = zip(screener.iter(films, ["edema"]), screener.iter(films, ["edema"]), strict=True)
    for one, two in pairs:
        assert one.scores == two.scores == screener.predict([films[one.path == "image 2"]], ["edema"])[0].scores


def test_an_iterator_may_go_to_another_thread(screener: Screener, other: ThreadPoolExecutor) -> None:
    rows = screener.iter([picture(1)], ["edema"])
    assert len(other.submit(list, rows).result()) == 1
    begun = screener.iter([picture(1), picture(2)], ["edema"])
    next(begun)
    begun.close()
    other.submit(screener.predict, [picture(1)], ["edema"]).result()


def test_a_closed_one_answers_nothing_more(tiny_bundle: Path, png: Draw, tmp_path: Path) -> None:
    closed: list[object] = []

    class Noting(Archives):
        def close(self) -> None:
            closed.append(self)
            super().close()

    archives, objects = Noting(), Objects()
    with Screener(tiny_bundle, cache=tmp_path / "c", device="cpu", archives=archives, objects=objects) as screener:
        asked = calls(screener, png("a.png", 1))
        rows = screener.iter([picture(1), picture(2)], ["edema"])
        next(rows)
        assert screener.store is not None
        assert screener.store.alive
    assert not screener.store.alive
    assert closed == [archives]
    screener.close()  # once more is nothing
    for call in [*asked, lambda: next(rows), screener.__enter__]:
        with pytest.raises(UsageError, match="this Screener is closed; make a new one"):
            call()


def test_an_error_leaves_it_usable(screener: Screener, other: ThreadPoolExecutor) -> None:
    with pytest.raises(UsageError):
        screener.predict([5], ["edema"])  # type: ignore[list-item]
    assert len(other.submit(screener.predict, [picture(1)], ["edema"]).result()) == 1


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_pickled(screener: Screener, duplicate: Callable[[Screener], object]) -> None:
    with pytest.raises(UsageError, match="cannot be pickled or copied; make a new one in each process"):
        duplicate(screener)
