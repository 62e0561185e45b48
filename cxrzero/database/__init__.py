"""Results that grow: a database beside the tables, stored long; SQLite in a file, or a PostgreSQL server.

address.py    what names a database, and how it is shown: without its password
pgpass.py     passwords that PostgreSQL's own file keeps
schema.py     the tables and views, and their version
connect.py    an engine, and transactions that outlive a lost connection
store.py      runs and their rows, added and never rewritten
select.py     rows again, chosen by run, model and labels

Only what opens a database imports SQLAlchemy.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.database.address import Address, is_address, parse_address
from cxrzero.errors import MissingExtraError, NoInputError
from cxrzero.files import check_file

if TYPE_CHECKING:
    from cxrzero.database.store import Database

__all__ = ["check_database", "is_address", "open_database", "parse_address"]


def open_database(address: str | Path, *, must_exist: bool = False) -> Database:
    """Open a database of results; a new or empty one gets the tables.

    Args:
        address: see `is_address`.
        must_exist: to read: nothing is made, and nothing that is no database of results is taken.

    Raises:
        UsageError: it is no address of a database that can be used.
        NoInputError: a file that must exist does not.
        DatabaseError: it cannot be reached, is none of ours or of another schema; passwords are in no message.
        MissingExtraError: SQLAlchemy or the server's driver is not installed.
    """
    parsed = _importable(parse_address(address))
    if must_exist and parsed.file is not None and not parsed.file.is_file():
        raise NoInputError(f"{parsed} does not exist; cxrzero predict --out {parsed} makes it")
    from cxrzero.database.store import Database

    return Database(parsed, must_exist=must_exist)


def check_database(address: str | Path) -> None:
    """Find out whether results could be added to a database, making nothing.

    Raises:
        UsageError, DatabaseError, MissingExtraError: see `open_database`.
        OutputError: it would be a new file, whose folder does not exist or cannot be written.
    """
    parsed = _importable(parse_address(address))
    if parsed.file is not None and not parsed.file.exists():
        check_file(parsed.file, overwrite=False)
        return
    from cxrzero.database.store import check

    check(parsed)


def _importable(address: Address) -> Address:
    for module in address.modules:
        try:
            importlib.import_module(module)
        except ImportError:
            raise MissingExtraError(module, "pacs") from None
    return address
