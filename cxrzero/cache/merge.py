"""What other machines kept, put into a cache: each entry as it is, once, in any order and as often as one likes.

A key is a digest of all that decides an entry, so entries of one key say the same wherever they were made, and joining
two caches needs no decision. A file that is merged is one of a stranger: it is opened for reading only, must have the
very tables that `cxrzero.cache.store` makes and nothing that SQLite would execute, and what is wrong with an entry
leaves that entry out. What this cannot tell is whether numbers are those of a film: only its maker can.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero.cache.entries import KEY_BYTES
from cxrzero.cache.store import (
    BUSY_TIMEOUT_S,
    CONTENT,
    FILE_NAME,
    IMAGE,
    SCHEMA,
    SCHEMA_VERSION,
    TEXT,
    Entry,
    Store,
    unseal,
)
from cxrzero.errors import NoInputError, UsageError

KINDS = frozenset({IMAGE, TEXT, CONTENT})
# Entries of one transaction: half a megabyte, some milliseconds, between which running predictions write theirs.
AT_ONCE = 200
BYTES_AT_ONCE = 2**23
# Of one entry; a film of 10,000 frames with embeddings of 1,024 numbers has 42 MB.
MOST_BYTES = 2**26
LONGEST_NAME = 255
MAGIC = b"SQLite format 3\0"


@dataclass(slots=True)
class Merged:
    """What became of the entries of one file.

    Attributes:
        source: the file.
        bytes: its size.
        entries: that it has; 0 where damage prevents that they are counted.
        added: entries that are new.
        known: those that were there.
        damaged: those that are not what was sealed, or no entries of a cache.
        is_cut: whether the file is damaged so that not all of it could be read.
        no_room: those that the size limit leaves no room for.
    """

    source: Path
    bytes: int
    entries: int = 0
    added: int = 0
    known: int = 0
    damaged: int = 0
    is_cut: bool = False
    no_room: int = 0

    @property
    def done(self) -> int:
        """Entries that were looked at."""
        return self.added + self.known + self.damaged

    @property
    def is_whole(self) -> bool:
        return not (self.damaged or self.is_cut or self.no_room)


def find_caches(paths: Sequence[Path], store: Store) -> list[Path]:
    """The files of caches that folders and files name, each checked before any is read.

    Raises:
        NoInputError: there is none.
        UsageError: it is no cache, one of a newer version, or the very cache that is merged into.
    """
    files = []
    for path in paths:
        file = path / FILE_NAME if path.is_dir() else path
        if not file.is_file():
            raise NoInputError(f"{path} has no cache: there is no file {file.name if file != path else path}")
        if store.path.exists() and file.samefile(store.path):
            raise UsageError(f"{path} is the cache that is merged into; name those of other machines")
        with closing(_open(file)):
            files.append(file)
    return files


def merge(file: Path, store: Store, on_progress: Callable[[Merged], None] = lambda merged: None) -> Merged:
    """Put the entries of a file into a cache, a few at a time; what is done stays done wherever it ends.

    Args:
        file: see `find_caches`; other processes may use it and the store meanwhile.
        on_progress: is told after each transaction how far it is.

    Raises:
        UsageError: see `find_caches`.
    """
    merged = Merged(file, file.stat().st_size)
    with closing(_open(file)) as source:
        try:
            merged.entries = _count(source)
            for entries, damaged in _batches(source):
                if not store.has_room(sum(len(entry.sealed) for entry in entries)):
                    merged.no_room = max(merged.entries - merged.done, len(entries))
                    break
                added = store.add(entries)
                if not store.alive:
                    break
                merged.added += added
                merged.known += len(entries) - added
                merged.damaged += damaged
                on_progress(merged)
        except sqlite3.DatabaseError:
            merged.is_cut = True
    return merged


def _count(source: sqlite3.Connection) -> int:
    try:
        return int(source.execute("SELECT count(*) FROM entries").fetchone()[0])
    except sqlite3.DatabaseError:
        return 0


def _batches(source: sqlite3.Connection) -> Iterator[tuple[list[Entry], int]]:
    """Entries that are whole, in the order of their numbers, and how many beside them are not."""
    # A value that is too large is not loaded.
    query = (
        f"SELECT rowid, key, kind, model, used, CASE WHEN length(payload) <= {MOST_BYTES} THEN payload END "
        f"FROM entries WHERE rowid > ? ORDER BY rowid LIMIT {AT_ONCE}"
    )
    now, last = int(time.time()), -(2**63)
    while True:
        entries: list[Entry] = []
        seen = size = 0
        with closing(source.execute(query, (last,))) as rows:
            for number, *row in rows:
                last, seen = number, seen + 1
                if entry := _entry(row, now):
                    entries.append(entry)
                    size += len(entry.sealed)
                if size >= BYTES_AT_ONCE:
                    break
        if not seen:
            return
        yield entries, seen - len(entries)


def _entry(row: Sequence[Any], now: int) -> Entry | None:
    """An entry that is what a store writes, else None; none is used later than now, so that none stays for ever."""
    key, kind, model, used, sealed = row
    if not (isinstance(key, bytes) and len(key) == KEY_BYTES and isinstance(used, int) and unseal(sealed) is not None):
        return None
    try:
        kind, model = str(kind, "utf-8"), str(model, "utf-8")
    except (TypeError, ValueError):  # a number, or no text
        return None
    if kind not in KINDS or len(model) > LONGEST_NAME:
        return None
    return Entry(key, kind, model, min(max(used, 0), now), sealed)


def _open(file: Path) -> sqlite3.Connection:
    """A cache, for reading only.

    Raises:
        UsageError: it is none.
    """
    try:
        with file.open("rb") as opened:
            is_database = opened.read(len(MAGIC)) == MAGIC
        if not is_database:
            raise UsageError(f"{file} is not an embedding cache of cxrzero")
        source = _connect(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror})") from error
    except sqlite3.Error as error:
        raise UsageError(f"{file} cannot be read as an embedding cache ({error})") from error
    try:
        _check(file, source)
    except BaseException:
        source.close()
        raise
    return source


def _connect(file: Path) -> sqlite3.Connection:
    """Open beside processes that may write it; where SQLite can make no file beside it, nobody does."""
    address = file.absolute().as_uri()
    try:
        return _connected(f"{address}?mode=ro")
    except sqlite3.OperationalError:
        return _connected(f"{address}?mode=ro&immutable=1")


def _connected(address: str) -> sqlite3.Connection:
    source = sqlite3.connect(address, BUSY_TIMEOUT_S, isolation_level=None, uri=True)
    try:
        source.text_factory = bytes  # decoded by `_entry`, which leaves out what is no text
        source.execute("PRAGMA trusted_schema = OFF")
        source.execute("PRAGMA user_version").fetchone()
    except BaseException:
        source.close()
        raise
    return source


def _check(file: Path, source: sqlite3.Connection) -> None:
    try:
        version = source.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise UsageError(f"{file} was written by a newer cxrzero; merge it with that one")
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as ours:
            ours.text_factory = bytes
            for statement in SCHEMA:
                ours.execute(statement)
            is_ours = version == SCHEMA_VERSION and _tables(source) == _tables(ours)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{file} is damaged and cannot be merged ({error})") from error
    if not is_ours:
        raise UsageError(f"{file} is a database, but not an embedding cache of cxrzero")


def _tables(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Everything that a database is made of, by the statements that made it."""
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 100"))
