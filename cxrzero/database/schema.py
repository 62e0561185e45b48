"""The tables and views of a database of results, and the version that they have.

    settings ◄─ runs ─► asked ─► prompts        what a run is: what decides its numbers, and what it asks, in order
                 ▲                  ▲
    films ◄─ facts ◄─ listed        │           what it found: a film, what was read of it, and its place in the table
      ▲                             │
      └────────── scores ───────────┘           one number of a film, by a setting and the prompts of one label

Rows are added and never changed, but that a run gets its end. A film is told by its SOP Instance UID, else by its path,
each with the digest of its picture where that is known, and by its frame. Whatever two runs have in common is there
once: it is found by a digest of what it says. A label is data and no part of any statement.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import REAL, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

from cxrzero.database.views import VIEWS
from cxrzero.errors import DatabaseError
from cxrzero.prediction import FACT_COLUMNS
from cxrzero.tables.rows import KINDS

SCHEMA_VERSION = 1
DIGEST_BYTES = 16
# Of PostgreSQL's advisory locks, which are numbers: two that make the tables at once wait for each other.
LOCK = 0x63787230

metadata = MetaData()


def _table(name: str, *columns: Any, key: bool = False) -> Any:
    """`key`: its rows are found by their primary key alone, so that SQLite keeps them under it."""
    return Table(name, metadata, *columns, sqlite_with_rowid=not key)


def _id() -> Any:
    return Column("id", Integer, primary_key=True)


def _digest() -> Any:
    return Column("digest", LargeBinary, nullable=False, unique=True)


def _to(column: str, **options: Any) -> Any:
    return Column(column, Integer, ForeignKey(f"{column}s.id"), nullable=False, **options)


def _text(name: str) -> Any:
    return Column(name, Text, nullable=False)


schema = _table("cxrzero_schema", Column("version", Integer, nullable=False))
settings = _table("settings", _id(), _digest(), _text("model"), _text("fingerprint"), _text("record"))
runs = _table(
    "runs",
    _id(),
    Column("token", Text, nullable=False, unique=True),
    _to("setting"),
    _text("started"),
    Column("ended", Text),
    _text("record"),
)
prompts = _table("prompts", _id(), _digest(), _text("label"), _text("record"))
asked = _table(
    "asked", _to("run", primary_key=True), Column("place", Integer, primary_key=True), _to("prompt"), key=True
)
films = _table(
    "films",
    _id(),
    _digest(),
    _text("sop_instance_uid"),
    _text("path"),
    _text("picture"),
    Column("frame", Integer, CheckConstraint("frame >= 1")),
)
facts = _table(
    "facts",
    _id(),
    _digest(),
    _to("film", index=True),
    _text("path"),
    _text("folder"),
    *map(_text, FACT_COLUMNS),
    *map(_text, ("status", "flags", "error")),
)
# By hash: an entry of PostgreSQL's other index has at most 2,704 bytes, and a path may have 4,096.
Index("facts_path", facts.c.path, postgresql_using="hash")
listed = _table(
    "listed",
    _to("run", primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("facts", Integer, ForeignKey("facts.id"), nullable=False, index=True),
    key=True,
)
scores = _table(
    "scores",
    _to("film", primary_key=True),
    _to("setting", primary_key=True),
    _to("prompt", primary_key=True),
    _to("run"),
    Column("probability", REAL, nullable=False),
    *(Column(name, Integer if kind is int else REAL) for name, kind in KINDS.items()),
    key=True,
)


def make_or_check(connection: Any, address: object) -> None:
    """Make tables and views in a database that has none; another's is left as it is.

    Raises:
        DatabaseError: it has other tables, or ours in another version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    if is_empty(connection):
        metadata.create_all(connection)
        for name, view in VIEWS.items():
            connection.execute(sqlalchemy.text(f"CREATE VIEW {name} AS {view}"))
        connection.execute(schema.insert(), {"version": SCHEMA_VERSION})
    else:
        check(connection, address)


def check(connection: Any, address: object) -> None:
    """See `make_or_check`; nothing is made."""
    if is_empty(connection):
        raise DatabaseError(f"the database {address} is empty; cxrzero predict --out {address} fills it")
    if not sqlalchemy.inspect(connection).has_table(schema.name):
        raise DatabaseError(f"the database {address} holds something else; give cxrzero a database of its own")
    version = connection.execute(sqlalchemy.select(schema.c.version)).scalar()
    if version != SCHEMA_VERSION:
        age = "a newer" if isinstance(version, int) and version > SCHEMA_VERSION else "another"
        raise DatabaseError(
            f"the database {address} has schema {version} of {age} cxrzero, this one knows {SCHEMA_VERSION}; use that "
            "cxrzero, or name another database"
        )


def is_empty(connection: Any) -> bool:
    """Whether there is no table and no view."""
    found = sqlalchemy.inspect(connection)
    return not found.get_table_names() and not found.get_view_names()
