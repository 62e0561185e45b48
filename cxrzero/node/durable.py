"""The SQLite file of a node's state folder: transactions that are on disk when they are over, and small notes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrzero.errors import NoInputError, RunError, WriteError
from cxrzero.files import make_private

SCHEMA_VERSION = 1
FILE_NAME = "queue.sqlite"
# How long to wait for another process, such as `listen --requeue`, to finish writing.
BUSY_TIMEOUT_S = 60.0

SCHEMA = (
    """CREATE TABLE objects (
        id INTEGER PRIMARY KEY, file TEXT NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL,
        sop_instance TEXT NOT NULL, sop_class TEXT NOT NULL, transfer_syntax TEXT NOT NULL, size INTEGER NOT NULL,
        digest TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0, code TEXT NOT NULL DEFAULT '',
        rows TEXT NOT NULL DEFAULT '', run INTEGER, patient TEXT NOT NULL DEFAULT '', report INTEGER,
        is_stored INTEGER NOT NULL DEFAULT 1, source TEXT NOT NULL DEFAULT '',
        UNIQUE (sop_instance, digest))""",
    "CREATE INDEX objects_state ON objects (state, study)",
    "CREATE INDEX objects_study ON objects (study)",
    "CREATE INDEX objects_tried ON objects (attempts) WHERE state = 'received' AND attempts > 0",
    "CREATE INDEX objects_file ON objects (file)",
    "CREATE INDEX objects_open ON objects (study) WHERE report IS NULL",
    "CREATE INDEX objects_stored ON objects (state) WHERE is_stored",
    """CREATE TABLE reports (
        id INTEGER PRIMARY KEY, closing INTEGER, study TEXT NOT NULL, scored_at TEXT NOT NULL,
        state TEXT NOT NULL, file TEXT NOT NULL DEFAULT '', sop_class TEXT NOT NULL DEFAULT '',
        sop_instance TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
        code TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX reports_state ON reports (state)",
    "CREATE INDEX reports_study ON reports (study)",
    "CREATE INDEX reports_file ON reports (file)",
    "CREATE INDEX reports_sop_instance ON reports (sop_instance)",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, record TEXT NOT NULL UNIQUE)",
    "CREATE TABLE watched (key BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

Execute = Callable[..., sqlite3.Cursor]


class Durable:
    """The open file; used by several threads at once.

    Args:
        state: the node's folder, made private if it has to be made.
        must_exist: refuse to make a new file.

    Raises:
        NoInputError: there is no file, and `must_exist`.
        RunError: the file is damaged, or a newer cxrzero's.
        WriteError: it cannot be written. Every method may raise this, and RunError.
    """

    def __init__(self, state: Path, *, must_exist: bool = False) -> None:
        self.path = state / FILE_NAME
        if must_exist and not self.path.exists():
            raise NoInputError(f"{state} has no queue: no node has run with this folder as its state")
        make_private(state)
        self._lock = threading.RLock()
        self._connection = self._open()

    @contextmanager
    def writing(self) -> Iterator[Execute]:
        """One transaction: afterwards all of it is on disk, or nothing."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise _told(self.path, error) from error
                raise

    def rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise _told(self.path, error) from error

    def number(self, query: str, *values: object) -> int:
        return int(self.rows(query, *values)[0][0])

    def note(self, name: str, default: Any = None) -> Any:
        found = self.rows("SELECT value FROM notes WHERE name = ?", name)
        return found[0][0] if found else default

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.touch(mode=0o600)
            connection = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise WriteError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")  # two that open a new file at once make its tables once
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise RunError(f"{self.path} was written by a newer cxrzero; upgrade, or name another state folder")
            for statement in SCHEMA if version == 0 else ():
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise _told(self.path, error) from error
            raise
        return connection


def set_note(write: Execute, name: str, value: object) -> None:
    write("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))


def add_to_note(write: Execute, name: str, value: float) -> None:
    write(
        "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, value)
    )


def note_error(write: Execute, code: str) -> None:
    """Remember the last thing that went wrong, by a code without identities; nothing where there is none."""
    if code:
        set_note(write, "last_error", code)


def _told(path: Path, error: sqlite3.DatabaseError) -> RunError:
    """The error to raise: a full or read-only disk, another process that does not let go, or a damaged file."""
    if isinstance(error, sqlite3.OperationalError):
        return WriteError(f"{path} cannot be written: {error}")
    return RunError(f"{path} is damaged ({error}); keep a copy of it, and name another state folder")
