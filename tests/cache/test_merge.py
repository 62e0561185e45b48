"""Caches of several machines become one: all that is whole, nothing twice, and nothing of what is no cache."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cxrzero
from cxrzero.cache.merge import AT_ONCE, find_caches, merge
from cxrzero.cache.store import FILE_NAME, SCHEMA_VERSION, Store
from cxrzero.cli import app


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "own"))
    with closing(Store()) as store:
        yield store


def command(*sources: Path) -> Result:
    return CliRunner().invoke(app, ["cache", "merge", *map(str, sources)])


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def payload(number: int) -> bytes:
    return bytes([number % 256]) * (100 + number)


def kept(folder: Path, numbers: Sequence[int], model: str = "tiny") -> Path:
    with closing(Store(folder)) as store:
        store.put("image", model, {key(number): payload(number) for number in numbers})
    return folder


def in_file(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.execute(statement, values)


def test_the_union_of_what_machines_kept_is_found(own: Store, tmp_path: Path) -> None:
    own.put("image", "tiny", {key(0): payload(0)})
    one, two = kept(tmp_path / "one", range(500)), kept(tmp_path / "two", range(400, 900), "other")
    before = [(folder / FILE_NAME).read_bytes() for folder in (one, two)]
    result = command(one, two / FILE_NAME)
    assert result.exit_code == 0, result.output
    assert "): 499 added, 1 known before." in result.output
    assert "): 400 added, 100 known before." in result.output
    assert own.get([key(number) for number in range(901)]) == {key(number): payload(number) for number in range(900)}
    assert {(each.model, each.kind): each.entries for each in own.usage()} == {
        ("tiny", "image"): 500,
        ("other", "image"): 400,
    }
    again = command(one, two)
    assert (again.exit_code, again.output.count(": 0 added, 500 known before")) == (0, 2)
    assert [(folder / FILE_NAME).read_bytes() for folder in (one, two)] == before


def test_when_an_entry_was_used_comes_along_and_is_never_in_the_future(own: Store, tmp_path: Path) -> None:
    """What was not used for longest goes first, wherever it was used; an entry of the year 3000 would never go."""
    source = kept(tmp_path / "one", range(3))
    in_file(source, "UPDATE entries SET used = 1000 WHERE key = ?", key(0))
    in_file(source, "UPDATE entries SET used = 32503680000 WHERE key = ?", key(1))
    command(source)
    (usage,) = own.usage()
    assert usage.oldest == 1000
    assert usage.newest <= time.time()
    assert own.count(unused_for_s=3600) == 1


def test_damaged_and_strange_entries_are_left_out_and_counted(own: Store, tmp_path: Path) -> None:
    source = kept(tmp_path / "one", range(300))
    with closing(sqlite3.connect(source / FILE_NAME)) as connection:
        (sealed,) = connection.execute("SELECT payload FROM entries WHERE key = ?", (key(5),)).fetchone()
    in_file(source, "UPDATE entries SET payload = ? WHERE key = ?", sealed[:-1] + b"\xff", key(5))
    in_file(source, "UPDATE entries SET payload = 'text' WHERE key = ?", key(6))
    in_file(source, "UPDATE entries SET kind = 'trigger' WHERE key = ?", key(7))
    in_file(source, "UPDATE entries SET model = CAST(x'ff00' AS TEXT) WHERE key = ?", key(8))
    in_file(source, "UPDATE entries SET model = ? WHERE key = ?", "m" * 256, key(9))
    in_file(source, "UPDATE entries SET used = 'now' WHERE key = ?", key(10))
    in_file(source, "UPDATE entries SET key = x'00' WHERE key = ?", key(11))
    in_file(source, "UPDATE entries SET key = NULL WHERE key = ?", key(12))
    result = command(source)
    assert result.exit_code == 3
    assert "292 added, 0 known before, 8 damaged and left out" in result.output
    assert len(own.get([key(number) for number in range(300)])) == 292
    assert own.alive


def test_an_entry_too_large_to_be_one_is_not_loaded(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxrzero.cache.merge.MOST_BYTES", 350)
    source = kept(tmp_path / "one", range(300))  # payloads of 100 to 399 bytes, and 4 of their seal
    assert "247 added, 0 known before, 53 damaged" in command(source).output


def test_a_file_with_damaged_pages_gives_what_can_be_read(own: Store, tmp_path: Path) -> None:
    source = kept(tmp_path / "one", range(2000))
    content = bytearray((source / FILE_NAME).read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (source / FILE_NAME).write_bytes(content)
    result = command(source)
    assert result.exit_code == 3, result.output
    assert "the file is damaged" in result.output
    found = own.get([key(number) for number in range(2000)])
    assert AT_ONCE <= len(found) < 2000
    assert all(found[key(number)] == payload(number) for number in range(AT_ONCE))


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ((f"PRAGMA user_version = {SCHEMA_VERSION + 1}",), "newer cxrzero"),
        (("PRAGMA user_version = 0",), "not an embedding cache"),
        (("CREATE TABLE patients (name TEXT)",), "not an embedding cache"),
        (("CREATE VIEW v AS SELECT * FROM entries",), "not an embedding cache"),
        (
            ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",),
            "not an embedding cache",
        ),
        (
            (
                "DROP TABLE entries",
                "CREATE VIEW entries AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT zeroblob(16) AS key, 'image' AS kind, '' AS model, 0 AS used, zeroblob(9) AS payload FROM n",
            ),
            "not an embedding cache",
        ),
    ],
)
def test_a_foreign_database_is_refused_before_anything_is_merged(
    own: Store, tmp_path: Path, statements: Sequence[str], said: str
) -> None:
    good, foreign = kept(tmp_path / "good", range(3)), kept(tmp_path / "foreign", range(3, 6))
    for statement in statements:
        in_file(foreign, statement)
    result = command(good, foreign)
    assert result.exit_code == 2
    assert said in result.output
    assert own.usage() == []


def test_what_is_no_cache_is_refused(own: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("path,frame\n", encoding="utf-8")
    (tmp_path / "half").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 100)
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("nowhere", "there is no file"),
        ("empty", f"there is no file {FILE_NAME}"),
        ("pipe", "there is no file"),
        ("text", "is not an embedding cache"),
        ("half", "cannot be"),
        ("own", "is the cache that is merged into"),
    ):
        result = command(tmp_path / name)
        assert result.exit_code == 2, result.output
        assert said in " ".join(result.output.split())


def test_a_full_cache_takes_no_more_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Store
) -> None:
    own.put("image", "tiny", {key(number + 10_000): bytes(2000) for number in range(200)})
    source = kept(tmp_path / "one", range(2000))
    monkeypatch.setenv("CXRZERO_CACHE_MAX_GB", "0.001")
    result = command(source)
    assert result.exit_code == 3
    assert "raise CXRZERO_CACHE_MAX_GB" in result.output
    assert len(own.get([key(number + 10_000) for number in range(200)])) == 200
    assert own.bytes_on_disk() < 8_000_000  # the file's megabyte and its log
    monkeypatch.setenv("CXRZERO_CACHE_MAX_GB", "1")
    assert command(source).exit_code == 0
    assert len(own.get([key(number) for number in range(2000)])) == 2000


def test_a_cache_on_a_medium_that_cannot_be_written_is_read(
    own: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite wants to make files beside a database that has a write-ahead log."""
    source, connect = kept(tmp_path / "one", range(3)), sqlite3.connect

    def refuse(address: str, *arguments: object, **options: object) -> object:
        if address.endswith("mode=ro"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(address, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("cxrzero.cache.merge.sqlite3.connect", refuse)
    (merged,) = [merge(file, own) for file in find_caches([source], own)]
    assert merged.added == 3
    assert [each.name for each in source.iterdir()] == [FILE_NAME]


def test_running_predictions_are_not_locked_out(tmp_path: Path, own: Store) -> None:
    """While 4,000 entries come in, another process's transactions all go through, in between and not after."""
    (source,) = find_caches([kept(tmp_path / "one", range(4000))], own)
    other, stop, written = Store(own.path.parent), threading.Event(), 0
    seen: list[int] = []

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            other.put("image", "running", {key(100_000 + written): b"film"})
            written += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        merge(source, own, lambda merged: seen.append(written))
    finally:
        stop.set()
        thread.join()
    assert seen[-1] > seen[0]  # it wrote between the first transaction of the merge and the last
    assert other.notices == own.notices == []
    assert len(own.get([key(100_000 + number) for number in range(written)])) == written
    other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not known there")
def test_a_merge_that_is_killed_goes_on(tmp_path: Path, own: Store) -> None:
    source = kept(tmp_path / "one", range(6000))
    program = (
        "import sys; from pathlib import Path; from cxrzero.cache.merge import merge; "
        "from cxrzero.cache.store import Store; "
        "merge(Path(sys.argv[1]), Store(), lambda merged: print(merged.added, flush=True))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cxrzero.__file__).parent.parent)}
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(source / FILE_NAME)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout
    for _ in range(3):
        running.stdout.readline()
    running.send_signal(signal.SIGKILL)
    running.communicate()
    there = sum(each.entries for each in own.usage())
    assert 3 * AT_ONCE <= there < 6000
    assert there % AT_ONCE == 0
    merged = merge(source / FILE_NAME, own)
    assert (merged.added, merged.known) == (6000 - there, there)


def test_a_copy_made_with_its_log_is_merged_whole(own: Store, tmp_path: Path) -> None:
    """Of a cache in use, the newest entries are in the log beside the file."""
    with closing(Store(tmp_path / "one")) as store:
        store.put("image", "tiny", {key(number): payload(number) for number in range(50)})
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
    assert "50 added" in command(tmp_path / "copy").output
