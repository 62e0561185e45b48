"""Lists are made in a thread of their own: in order, no further ahead than wanted, and not after nobody reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cxrzero.archive.ahead import read_ahead
from cxrzero.errors import ArchiveError


def test_all_come_in_their_order() -> None:
    assert list(read_ahead(iter(range(1000)), 3)) == list(range(1000))
    assert list(read_ahead(iter([None, ValueError]), 1)) == [None, ValueError]


def test_what_goes_wrong_is_raised_where_it_is_read() -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise ArchiveError("gone")

    found = read_ahead(breaks(), 9)
    assert next(found) == 1
    with pytest.raises(ArchiveError, match="gone"):
        next(found)


def test_nothing_is_made_that_nobody_reads() -> None:
    made, third = [], threading.Event()

    def counts() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    before = threading.active_count()
    found = read_ahead(counts(), 2)
    assert next(found) == 0
    assert third.wait(30)  # one was read, two wait, one has no place
    found.close()
    assert made == [0, 1, 2, 3]
    assert threading.active_count() == before
