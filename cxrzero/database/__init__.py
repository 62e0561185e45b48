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

from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.database.address import is_address, parse_address
from cxrzero.errors import MissingExtraError

if TYPE_CHECKING:
    from cxrzero.database.store import Database

__all__ = ["is_address", "open_database", "parse_address"]


def open_database(address: str | Path, *, must_exist: bool = False) -> Database:
    """Open a database of results; a new or empty one gets the tables.

    Args:
        address: see `is_address`.
        must_exist: to read: nothing is made, and nothing that is no database of results is taken.

    Raises:
        UsageError: it is no address of a database that can be used.
        DatabaseError: it cannot be reached, is none of ours or of another schema; passwords are in no message.
        MissingExtraError: SQLAlchemy or the server's driver is not installed.
    """
    parsed = parse_address(address)
    for module in parsed.modules:
        try:
            __import__(module)
        except ImportError:
            raise MissingExtraError(module, "pacs") from None
    from cxrzero.database.store import Database

    return Database(parsed, must_exist=must_exist)
