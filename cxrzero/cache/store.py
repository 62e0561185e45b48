"""The file behind the cache: keys and payloads in SQLite, shared by all processes of a user.

What this module does not know: images, prompts, models. A key is a digest and a payload is sealed by a checksum, so
damage inside a page that SQLite itself would not notice reads as "not there". The cache is never worth a run: whatever
goes wrong turns it off or rebuilds it, with one sentence in `notices`.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cxrzero.errors import OutputError
from cxrzero.files import make_private, user_folder

SCHEMA_VERSION = 1
FILE_NAME = "embeddings.sqlite"
NODES = "nodes"
DEFAULT_MAX_GB = 10.0

# Rows of 2 to 3 kB (512 float32 and a few facts) fill a 4 kB page badly, five to a 16 kB page well.
PAGE_SIZE = 16384
# Of the file's pages so much stays in memory: the index of a million keys, which a look-up meets anywhere.
PAGES_KB = 32_768
# Pages after which the write-ahead log is emptied: 4 MB.
LOG_PAGES = 250
# Parameters of one SELECT; SQLite allowed 999 before version 3.32.
KEYS_PER_QUERY = 500
# Use is noted this often, so that reading a large cache does not rewrite it.
USE_RESOLUTION_S = 3600
# How long to wait for another process to finish writing; a batch takes milliseconds, a clearing of gigabytes seconds.
BUSY_TIMEOUT_S = 60.0
OPEN_ATTEMPTS = 50
# Entries deleted in one transaction, between which other processes write and the log is emptied.
DELETED_AT_ONCE = 10_000
# What one eviction frees beyond the limit, so that evictions are rare.
KEPT_AFTER_EVICTION = 0.9
CHECKSUM_BYTES = 4
# The kinds of entries there are; who uses each is said in the module named.
IMAGE, TEXT, CONTENT = "image", "text", "content"  # cxrzero.cache.images, .texts, .contents

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS entries (
        key BLOB PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, used INTEGER NOT NULL, payload BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS entries_used ON entries (used)",
    "CREATE INDEX IF NOT EXISTS entries_model ON entries (model, kind, used)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is kept of one model.

    Attributes:
        model: "" where an entry is of no model.
        kind: "image" (one entry a file), "text" (one a prompt) or "content" (one a file whose content is known).
        oldest, newest: when it was last used, seconds since 1970, to the hour.
    """

    model: str
    kind: str
    entries: int
    oldest: int
    newest: int


class Entry(NamedTuple):
    """One entry as the file has it; its payload is sealed."""

    key: bytes
    kind: str
    model: str
    used: int
    sealed: bytes


class NewerCacheError(Exception):
    """The file was written by a newer cxrzero; it is left as it is."""


def cache_folder() -> Path:
    """$CXRZERO_CACHE_DIR, else `cxrzero` in the user's cache folder (XDG, ~/Library/Caches, %LOCALAPPDATA%)."""
    if chosen := os.environ.get("CXRZERO_CACHE_DIR"):
        return Path(chosen)
    return user_folder("cache")


def folder_of(host: str) -> Path:
    """Where a machine keeps what it embeds for the run of another one: in the cache folder that both may have."""
    return cache_folder() / NODES / re.sub(r"[^\w-]", "_", host)


def size_limit() -> tuple[int, str]:
    """Bytes that the cache may take ($CXRZERO_CACHE_MAX_GB, 10 by default), and a complaint about a wrong value."""
    text = os.environ.get("CXRZERO_CACHE_MAX_GB", "")
    try:
        gigabytes = float(text) if text else DEFAULT_MAX_GB
    except ValueError:
        gigabytes = -1.0
    if 0 < gigabytes < 1e6:
        return int(gigabytes * 1e9), ""
    return int(DEFAULT_MAX_GB * 1e9), f"CXRZERO_CACHE_MAX_GB={text!r} is not a size in gigabytes; 10 is used"


class Store:
    """An open cache; a dead one (`alive` false) finds nothing and keeps nothing.

    Args:
        folder: where the file is, made private (0700) if it has to be made; None takes `cache_folder()`.
        max_bytes: above this, what was not used for longest goes; None takes `size_limit()`.

    Attributes:
        notices: sentences for the user, each once.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int | None = None) -> None:
        limit, complaint = size_limit()
        self.path = (folder or cache_folder()) / FILE_NAME
        self.max_bytes = max_bytes or limit
        self.notices: list[str] = [complaint] if complaint else []
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        with self._guarded():
            self._open()

    @property
    def alive(self) -> bool:
        return self._connection is not None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Payloads of the keys that are there and whole."""
        found: dict[bytes, bytes] = {}
        with self._guarded():
            stale = []
            now = int(time.time())
            long_ago = now - USE_RESOLUTION_S
            for start in range(0, len(keys), KEYS_PER_QUERY):
                for key, used, sealed in self._select(keys[start : start + KEYS_PER_QUERY]):
                    if (payload := unseal(sealed)) is not None:
                        found[key] = payload
                    if used < long_ago:
                        stale.append((now, key))
            if stale:
                self._write("UPDATE entries SET used = ? WHERE key = ?", stale)
        return found

    def put(self, kind: str, model: str, payloads: Mapping[bytes, bytes]) -> None:
        """Keep payloads, all in one transaction."""
        if not self.alive:
            return
        now = int(time.time())
        rows = (Entry(key, kind, model, now, _seal(payload)) for key, payload in payloads.items())
        with self._guarded():
            self._write("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            if self._bytes_used() > self.max_bytes:
                self._evict()

    def add(self, entries: Sequence[Entry]) -> int:
        """Take entries of another file as they are, those whose keys are not there, in one transaction; how many.

        Nothing is evicted for them; ask `has_room` first.
        """
        with self._guarded():
            return self._write("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", entries)
        return 0

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more are within the limit."""
        with self._guarded():
            return self._bytes_used() + size <= self.max_bytes
        return False

    def usage(self) -> list[Usage]:
        query = "SELECT model, kind, count(*), min(used), max(used) FROM entries GROUP BY model, kind"
        return [Usage(*row) for row in self._connection.execute(query)] if self._connection else []

    def count(self, model: str | None = None, unused_for_s: float = 0.0) -> int:
        """How many entries `clear` would delete."""
        where, values = _chosen(model, unused_for_s)
        with self._guarded():
            if self._connection:
                query = f"SELECT count(*) FROM entries WHERE {where}"
                return int(self._connection.execute(query, values).fetchone()[0])
        return 0

    def clear(self, model: str | None = None, unused_for_s: float = 0.0) -> int:
        """Delete entries, of one model or all, that were not used for a time; returns how many.

        The file gets smaller, at once where no other process is reading it, else when that has ended.
        """
        where, values = _chosen(model, unused_for_s)
        some = f"SELECT rowid FROM entries WHERE {where} LIMIT {DELETED_AT_ONCE}"
        deleted = 0
        with self._guarded():
            if self._connection:
                while found := self._connection.execute(
                    f"DELETE FROM entries WHERE rowid IN ({some})", values
                ).rowcount:
                    deleted += found
                self._shrink(0)
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return deleted

    def beside(self) -> list[Path]:
        """The files of other machines (`folder_of`) that are in sight."""
        return sorted(self.path.parent.glob(f"{NODES}/*/{FILE_NAME}"))

    def bytes_on_disk(self) -> int:
        files = (Path(f"{self.path}{suffix}") for suffix in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever fails inside ends the cache's part in the run, or sets a damaged file aside; never the run."""
        try:
            yield
        except NewerCacheError:
            self._give_up(f"the embedding cache {self.path} was written by a newer cxrzero and is left alone")
        except sqlite3.OperationalError as error:
            self._give_up(f"the embedding cache {self.path} cannot be used ({error})")
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        except OSError as error:
            self._give_up(f"the embedding cache {self.path} cannot be used ({error.strerror})")
        except OutputError as error:
            self._give_up(f"the embedding cache {self.path} cannot be used: {error}")

    def _give_up(self, reason: str) -> None:
        self.notices.append(f"{reason}; this run goes on without it")
        self.close()

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        self.close()
        aside = self.path.with_name(f"{FILE_NAME}.damaged-{int(time.time())}-{os.getpid()}")
        try:
            # Another process may have replaced the damaged file already; its new one is good.
            if self.path.stat().st_ino == self._inode:
                self.path.replace(aside)
                for suffix in ("-wal", "-shm"):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            self._open()
        except (OSError, sqlite3.Error, NewerCacheError):
            self._give_up(f"the embedding cache {self.path} is damaged ({error}) and cannot be rebuilt")
        else:
            self.notices.append(f"the embedding cache was damaged ({error}); it is set aside as {aside} and rebuilt")

    def _open(self) -> None:
        make_private(self.path.parent)
        # SQLite gives its side files the mode of the main one.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._inode = self.path.stat().st_ino
        for attempt in range(OPEN_ATTEMPTS):
            try:
                self._connection = self._connect()
            except sqlite3.OperationalError as error:
                # Turning the write-ahead log on does not wait for another process that does the same.
                if not _is_locked(error) or attempt == OPEN_ATTEMPTS - 1:
                    raise
                time.sleep(0.1)
            else:
                return

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise NewerCacheError
            if version < SCHEMA_VERSION:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA cache_size = -{PAGES_KB}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            # A crash of the machine may lose the last batches, which are then embedded again; a killed process loses
            # nothing that was committed.
            connection.execute("PRAGMA synchronous = NORMAL")
            if version < SCHEMA_VERSION:
                connection.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _select(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, int, bytes]]:
        if not self._connection:
            return ()
        marks = ",".join("?" * len(keys))
        return self._connection.execute(f"SELECT key, used, payload FROM entries WHERE key IN ({marks})", keys)

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Execute a statement for each row, all or none; how many rows of the table it changed."""
        if not self._connection:
            return 0
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            changed = self._connection.executemany(statement, rows).rowcount
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return changed

    def _bytes_used(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * PAGE_SIZE

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0]) if self._connection else 0

    def _evict(self) -> None:
        """Delete what was not used for longest, a tenth at a time, until the rest fits well."""
        while self._connection and self._bytes_used() > KEPT_AFTER_EVICTION * self.max_bytes:
            tenth = 1 + self._connection.execute("SELECT count(*) FROM entries").fetchone()[0] // 10
            oldest = "SELECT rowid FROM entries ORDER BY used, rowid LIMIT ?"
            if not self._connection.execute(f"DELETE FROM entries WHERE rowid IN ({oldest})", (tenth,)).rowcount:
                break
        self._shrink(self.max_bytes)

    def _shrink(self, size: int) -> None:
        """Give free pages back, of what the file has above so many bytes."""
        surplus = self._pragma("page_count") - size // PAGE_SIZE
        if self._connection and surplus > 0:
            # Each step frees one page; of the ways to execute only this one takes all steps.
            self._connection.executescript(f"PRAGMA incremental_vacuum({surplus})")


def _chosen(model: str | None, unused_for_s: float) -> tuple[str, list[float | str]]:
    """Conditions for a WHERE, and their values."""
    where, values = "used <= ?", [time.time() - unused_for_s]
    return (where, [*values]) if model is None else (f"{where} AND model = ?", [*values, model])


def _is_locked(error: sqlite3.OperationalError) -> bool:
    """Whether another process has the file; the low byte is the code without its details."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _seal(payload: bytes) -> bytes:
    return zlib.crc32(payload).to_bytes(CHECKSUM_BYTES, "little") + payload


def unseal(sealed: object) -> bytes | None:
    """The payload, or None where it is not what was sealed."""
    if not isinstance(sealed, bytes) or len(sealed) < CHECKSUM_BYTES:
        return None
    payload = sealed[CHECKSUM_BYTES:]
    return payload if zlib.crc32(payload) == int.from_bytes(sealed[:CHECKSUM_BYTES], "little") else None
