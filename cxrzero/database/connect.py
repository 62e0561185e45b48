"""An engine of SQLAlchemy, and transactions: whole or not at all, also where the connection is lost in the middle."""

from __future__ import annotations

import getpass
import logging
import os
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy.pool import QueuePool

from cxrzero.database.address import Address
from cxrzero.database.pgpass import password_of
from cxrzero.errors import DatabaseError

T = TypeVar("T")

# How long to wait for another process to finish writing, and for a server to answer.
BUSY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
# A transaction whose connection was lost is tried again after so long, each time twice as long, within the limit.
FIRST_WAIT_S, LONGEST_WAIT_S, RETRY_LIMIT_S = 0.1, 5.0, 60.0
# SQLSTATEs after which the same transaction may succeed: class 08 (connection), shutdown and start of the server, too
# many connections, serialization failure, deadlock.
PASSING = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")
# The option of a connection that is going to write; SQLite takes its lock at once then.
WRITES = "cxrzero_writes"


# SQLAlchemy logs what fails while a lost connection is closed; here that is said once, as an error.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())


class _LostError(Exception):
    """The way to the server broke."""


FAILURES = (sqlalchemy.exc.DBAPIError, _LostError)


class Connector:
    """Gives connections to a database, and runs transactions on them. Several threads may use it.

    Args:
        retry_limit_s: how long a transaction is tried again after its connection was lost.

    Raises:
        DatabaseError: a password file is not usable.
    """

    def __init__(self, address: Address, retry_limit_s: float = RETRY_LIMIT_S) -> None:
        self.address = address
        self._retry_limit_s = retry_limit_s
        self._engine = _sqlite_engine(address) if address.file is not None else _server_engine(address)

    @property
    def is_server(self) -> bool:
        return self.address.file is None

    def write(self, work: Callable[[Any], T], *, retry: bool = True) -> T:
        """Do `work` in a transaction; after a lost connection do all of it again, so it must bear being repeated.

        Raises:
            DatabaseError: it cannot be done; nothing of it was.
        """
        end = time.monotonic() + (self._retry_limit_s if retry else 0.0)
        wait = FIRST_WAIT_S
        while True:
            try:
                with self._engine.execution_options(**{WRITES: True}).connect() as connection:
                    return _whole(connection, work)
            except FAILURES as error:
                left = end - time.monotonic()
                if not self.is_server or not _is_passing(error) or left <= 0:
                    raise self._failed(error) from None
            time.sleep(min(wait, left))
            wait = min(2 * wait, LONGEST_WAIT_S)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A connection that sees one state of the database; its rows come in parts.

        Raises:
            DatabaseError: it cannot be read, or the connection is lost.
        """
        options: dict[str, Any] = {"stream_results": True, "yield_per": 2000}
        if self.is_server:
            options["isolation_level"] = "REPEATABLE READ"
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(**options)
        except FAILURES as error:
            raise self._failed(error) from None

    def close(self) -> None:
        self._engine.dispose()

    def _failed(self, error: Exception) -> DatabaseError:
        """The error to raise: what the database said, which has neither statements nor their values nor passwords."""
        return DatabaseError(f"the database {self.address} {_why(error)}")


def _whole(connection: Any, work: Callable[[Any], T]) -> T:
    try:
        with connection.begin():
            return work(connection)
    except FAILURES:
        connection.invalidate()  # so that nobody is given it again
        raise


def _sqlite_engine(address: Address) -> Any:
    assert address.file is not None
    file = address.file
    if not file.parent.is_dir():
        raise DatabaseError(f"the folder {file.parent} of the database {file} does not exist; create it first")
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("sqlite", database=os.fspath(file)),
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,
    )

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begun` says
        # Readers do not stop writers, and what is committed stays even where the power goes.
        _use_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")  # a file may be a stranger's

    def begun(connection: Any) -> None:
        kind = "IMMEDIATE" if connection.get_execution_options().get(WRITES) else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {kind}")

    sqlalchemy.event.listen(engine, "connect", connected)
    sqlalchemy.event.listen(engine, "begin", begun)
    return engine


def _use_log(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; of several that do so at once in a new file, SQLite does not let all wait."""
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(FIRST_WAIT_S)


def _server_engine(address: Address) -> Any:
    user = address.user or os.environ.get("PGUSER") or getpass.getuser()

    def connect() -> Any:
        import pg8000.dbapi

        # Looked up for each connection: it is kept nowhere, and what was put right in the file helps at once.
        password = address.password or password_of(address.host, address.port, address.database, user)
        socket = f"{address.host}/.s.PGSQL.{address.port}" if address.host.startswith("/") else None
        try:
            return pg8000.dbapi.connect(
                user,
                host=address.host,
                port=address.port,
                database=address.database,
                password=password or "",  # of None pg8000 makes an AttributeError where a server asks for one
                unix_sock=socket,
                ssl_context=_tls(address),
                timeout=ANSWER_TIMEOUT_S,
                application_name="cxrzero",
            )
        except ssl.SSLError as error:
            raise DatabaseError(f"the database {address} {_distrusted(error)}") from None
        except OSError as error:
            raise pg8000.dbapi.InterfaceError("communication error") from error

    engine = sqlalchemy.create_engine(
        "postgresql+pg8000://", creator=connect, poolclass=QueuePool, hide_parameters=True, pool_size=2
    )

    def failed(context: Any) -> Exception | None:
        """pg8000 lets what a socket says through as it is."""
        return _LostError() if isinstance(context.original_exception, OSError) else None

    sqlalchemy.event.listen(engine, "handle_error", failed, retval=True)
    return engine


def _tls(address: Address) -> ssl.SSLContext | bool:
    """What pg8000 takes: False for none, True for one whose certificate is not checked."""
    if address.tls != "verify-full":
        return address.tls == "require"
    try:
        return ssl.create_default_context(cafile=address.root_certificate)
    except OSError as error:
        raise DatabaseError(f"sslrootcert {address.root_certificate} cannot be read: {error}") from None


def _is_passing(error: Exception) -> bool:
    """Whether the same may succeed in a moment."""
    if isinstance(error, _LostError):
        return True
    code, said = _stated(error)
    return code.startswith(PASSING) or (not code and any(text in said for text in _LOST))


# What pg8000 says where the server says nothing.
_LOST = ("network error", "communication error", "connection is closed", "Can't create a connection")


def _stated(error: Exception) -> tuple[str, str]:
    """The SQLSTATE, "" where there is none, and what was said."""
    original = getattr(error, "orig", None) or error
    facts = original.args[0] if original.args else ""
    if isinstance(facts, dict):  # of a PostgreSQL server: C is the code, M the message
        return str(facts.get("C", "")), str(facts.get("M", ""))
    return "", str(original)


def _why(error: Exception) -> str:
    code, said = _stated(error)
    original = getattr(error, "orig", None)
    if isinstance(original, sqlite3.Error):
        return _SQLITE.get(getattr(original, "sqlite_errorcode", 0) & 0xFF, f"cannot be used: {said}")
    if code.startswith("28"):
        return f"refuses the user: {said}; give the password in PGPASSWORD or in ~/.pgpass"
    if "Server refuses SSL" in said:
        return "offers no TLS; where the way to it is safe otherwise, give ?sslmode=disable"
    if isinstance(error, _LostError) or any(text in said for text in _LOST):
        return "cannot be reached, or the connection was lost"
    # A value may be quoted in the message of a server, in its class 22 and 23 only.
    return f"cannot be used: {code if code.startswith(('22', '23')) else f'{said} ({code})'}"


def _distrusted(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"has a certificate that cannot be trusted ({error.verify_message}); name that of its authority with "
            "?sslrootcert=FILE, or trust any with ?sslmode=require"
        )
    return f"cannot be reached by TLS: {error.reason}"


_SQLITE = {
    sqlite3.SQLITE_NOTADB: "is no database, though its name says so; name another file",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_BUSY: f"was being written by another process for more than {BUSY_TIMEOUT_S:.0f} s; try again",
    sqlite3.SQLITE_FULL: "cannot be written: the disk is full",
    sqlite3.SQLITE_READONLY: "cannot be written: it is read-only",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened, or its folder cannot be written",
    sqlite3.SQLITE_PERM: "cannot be opened: no permission",
    sqlite3.SQLITE_IOERR: "cannot be written or read: the disk says no",
}
