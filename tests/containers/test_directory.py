"""Many members in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from cxrzero.containers.blob import LocalBlob
from cxrzero.containers.directory import Directory
from cxrzero.containers.entry import Entry, entry_of
from cxrzero.containers.open import Container
from tests.support.containers import code_when, tarred, zipped


def test_entries_come_sorted_and_whole() -> None:
    entries = [
        Entry("b", 2**40, 5, 2**33, 8, 2**32 - 1),
        Entry("a/x", 0, 1, 1),
        Entry("a", 9, 0, 0, fault="member_link"),
    ]
    directory = Directory(entries, 2**41)
    first, second, third = directory
    assert first == Entry("a", 9, 0, 0, limit=2**40, fault="member_link")
    assert second == Entry("a/x", 0, 1, 1, limit=9)
    assert third == entries[0]._replace(limit=2**41)
    assert directory.find("a/x") == second
    assert directory.find("c") is None


def test_a_member_takes_little_memory() -> None:
    count = 20_000
    tracemalloc.start()
    try:
        directory = Directory((Entry(f"p{n:06}/film.png", 100 * n, 50, 50) for n in range(count, 0, -1)), 10**9)
        held = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in directory) == count
    assert held < 150  # bytes, of which the name is 16


def test_longer_names_than_are_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrzero.containers.directory.MAX_DIRECTORY_BYTES", 500)
    assert code_when(lambda: Directory([Entry("a" * 200, 0, 0, 0)] * 3, 1)) == "container_too_large"
    Directory([Entry("a" * 200, 0, 0, 0)] * 2, 1)


def test_an_identity_tells_the_member_and_its_container() -> None:
    entry = Entry("a/b.png", 1, 2, 3, 8, 5, 6)
    identity = entry.identity(b"/data/a.zip\x001 2 3")
    assert identity == b"member\0/data/a.zip\x001 2 3\0a/b.png\x001 2 3 8 5 6"
    assert entry_of(identity, b"/data/a.zip\x001 2 3", "a/b.png") == entry
    assert code_when(lambda: entry_of(identity, b"/data/a.zip\x001 2 4", "a/b.png")) == "container_changed"
    assert code_when(lambda: entry_of(identity, b"/data/a.zip\x001 2 3", "a/c.png")) == "container_changed"


class Counted(LocalBlob):
    """Counts what is read; in a store each would be a request."""

    reads = 0

    def read(self, offset: int, size: int) -> bytes:
        self.reads += 1
        return super().read(offset, size)


def test_few_reads_are_asked_of_a_store(tmp_path: Path) -> None:
    films = {f"{number:03}.png": bytes(5000) for number in range(100)}
    for name, packed in (("a.zip", zipped(films)), ("a.tar", tarred(films))):
        (tmp_path / name).write_bytes(packed)
        container = Container(str(tmp_path / name), blob := Counted(str(tmp_path / name)))
        entries = list(container.entries())
        assert len(entries) == 100
        assert blob.reads <= 2 + len(packed) // 2**16
        before = blob.reads
        assert container.content(entries[7]) == bytes(5000)
        assert blob.reads == before + 1
