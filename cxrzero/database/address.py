"""What names a database: a file by its suffix, `sqlite:///…` or `postgresql://…`. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from cxrzero.errors import UsageError
from cxrzero.places.kind import kind_of_place

SUFFIXES = frozenset({".sqlite", ".sqlite3", ".db"})
PORT = 5432
# As libpq has them; "prefer" and "allow" would go on in the clear without a word.
TLS_MODES = ("disable", "require", "verify-full")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_POSTGRESQL = frozenset({"postgresql", "postgresql+pg8000"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is.

    Attributes:
        file: of SQLite; None for a server.
        host, port, user, password, database: of a server; a host that begins with "/" is the folder of its socket.
        tls: one of TLS_MODES; by default the certificate is checked, except on this machine.
        root_certificate: a file of certificates to check by, in place of the system's.
    """

    file: Path | None = None
    host: str = ""
    port: int = PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    tls: str = "disable"
    root_certificate: str | None = None

    def __str__(self) -> str:
        """For messages and records: neither user nor password."""
        if self.file is not None:
            return str(self.file)
        if self.host.startswith("/"):
            return f"postgresql:///{self.database}?host={self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}{'' if self.port == PORT else f':{self.port}'}/{self.database}"

    @property
    def modules(self) -> tuple[str, ...]:
        """What must be installed to open it."""
        return ("sqlalchemy",) if self.file is not None else ("sqlalchemy", "pg8000")


def is_address(out: str | Path) -> bool:
    """Whether an output names a database: by its suffix (.sqlite, .sqlite3, .db), or as a URL."""
    if kind_of_place(str(out)) == "object":
        return False
    return Path(out).suffix.lower() in SUFFIXES or _SCHEME.match(str(out)) is not None


def parse_address(address: str | Path) -> Address:
    """Take an address apart.

    Raises:
        UsageError: it is none, or of a kind of database that is not offered. The message shows no password.
    """
    text = str(address)
    if not _SCHEME.match(text):
        return Address(file=Path(text))
    scheme = text.partition("://")[0].lower()
    if scheme == "sqlite":
        return Address(file=_sqlite_file(text))
    if scheme not in _POSTGRESQL:
        raise UsageError(f"{scheme}:// names no database that can be used: give a file.sqlite or postgresql://…")
    try:
        parts = urlsplit(text)
        return _server(parts, parts.port or PORT)
    except ValueError:
        raise UsageError(
            "the address of the database cannot be read; write postgresql://user@host:port/database, and escape what "
            "is special in a user or password (@ as %40, / as %2F, [ as %5B), or keep the password in PGPASSWORD"
        ) from None


def _sqlite_file(text: str) -> Path:
    rest = text.partition("://")[2]
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UsageError("an address of SQLite names a file: sqlite:///results.sqlite, or simply results.sqlite")
    return Path(unquote(rest[1:].partition("?")[0]))


def _server(parts: SplitResult, port: int) -> Address:
    query = dict(parse_qsl(parts.query))
    unknown = sorted(query.keys() - {"host", "sslmode", "sslrootcert"})
    if unknown:
        raise UsageError(
            f"the address of the database has {', '.join(unknown)}; host, sslmode and sslrootcert are known"
        )
    host = query.get("host") or unquote(parts.hostname or "") or "localhost"
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise UsageError("the address of the database names none: write postgresql://user@host/database")
    is_here = host in _LOOPBACK or host.startswith("/")
    tls = query.get("sslmode", "disable" if is_here else "verify-full")
    if tls not in TLS_MODES:
        raise UsageError(f"sslmode in the address of the database is one of {', '.join(TLS_MODES)}")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Address(None, host, port, user, password, database, tls, query.get("sslrootcert"))
