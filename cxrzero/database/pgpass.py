"""Where a password comes from that is not in the address: $PGPASSWORD, or PostgreSQL's password file.

The file is as PostgreSQL's documentation ("The Password File") has it: a line `host:port:database:user:password`, of
which the first four may be `*`, and a backslash goes before `:` and `\\`. One that others can read is not used.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from cxrzero.errors import DatabaseError

_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")
OTHERS = 0o077


def password_of(host: str, port: int, database: str, user: str) -> str | None:
    """The password of $PGPASSWORD, else of the first line that fits; None where there is none.

    Args:
        host: of a socket its folder, whose lines may also say localhost.

    Raises:
        DatabaseError: the file that has one can be read by others, or cannot be read.
    """
    if password := os.environ.get("PGPASSWORD"):
        return password
    path = password_file()
    try:
        if not path.is_file():
            return None
        if sys.platform != "win32" and path.stat().st_mode & OTHERS:
            raise DatabaseError(
                f"the password file {path} can be read by others, so it is not used; run: chmod 600 {path}"
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DatabaseError(f"the password file {path} cannot be read") from None
    names = {host, "localhost"} if host.startswith("/") else {host}
    for line in lines:
        fields = _fields(line)
        if len(fields) == 5 and fields[0] in {*names, "*"} and _fits(fields[1:4], (str(port), database, user)):
            return fields[4]
    return None


def password_file() -> Path:
    """$PGPASSFILE, else ~/.pgpass, on Windows %APPDATA%\\postgresql\\pgpass.conf."""
    if chosen := os.environ.get("PGPASSFILE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", ""), "postgresql", "pgpass.conf")
    return Path.home() / ".pgpass"


def _fits(fields: list[str], wanted: tuple[str, ...]) -> bool:
    return all(field in ("*", want) for field, want in zip(fields, wanted, strict=True))


def _fields(line: str) -> list[str]:
    """The fields of a line, backslashes taken out; none of a comment."""
    if line.startswith("#"):
        return []
    fields, at = [], 0
    while at <= len(line) and (found := _FIELD.match(line, at)):
        fields.append(re.sub(r"\\(.)", r"\1", found[1]))
        if found.end() == len(line) and not found[0].endswith(":"):
            break
        at = found.end()
    return fields
