"""A database of results that is open: runs, and rows that are added to them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy

from cxrzero.database import schema
from cxrzero.database.address import Address
from cxrzero.database.connect import RETRY_LIMIT_S, Connector
from cxrzero.errors import DatabaseError, LabelError
from cxrzero.prediction import FIXED_COLUMNS, Prediction, printable_path
from cxrzero.tables.rows import KINDS

T = TypeVar("T")

# What decides the numbers of a run beside its prompts, by the keys of its record.
DECISIVE = (
    "cxrzero", "versions", "backend", "device", "precision", "models", "preprocess", "scoring", "calibration",
)  # fmt: skip
# Options that do not: they decide how the work is carried out, which films have numbers, or what a table looks like.
OTHER_OPTIONS = frozenset(
    {"batch_size", "workers", "decode_in", "gpu_decode", "fail_fast", "skip", "only", "by", "study_aggregate", "format"}
    | {"long", "pseudonymise", "query"}
)
# Digests of one SELECT.
AT_ONCE = 500

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a run asks: its setting's id, and label → its prompts' id, in order."""

    setting: int
    prompts: Mapping[str, int]


class Database:
    """Use `cxrzero.database.open_database`. Several threads may add at once, and so may several processes.

    Raises:
        DatabaseError: it cannot be reached, or is none of ours.
    """

    def __init__(self, address: Address, *, must_exist: bool = False, retry_limit_s: float = RETRY_LIMIT_S) -> None:
        self.address = address
        self.connector = Connector(address, retry_limit_s)
        self._asked: dict[int, _Asked] = {}
        try:
            if must_exist:
                with self.connector.reading() as connection:
                    schema.check(connection, address)
            else:
                self.connector.write(lambda connection: schema.make_or_check(connection, address), retry=False)
        except BaseException:
            self.close()
            raise

    def begin_run(self, record: Mapping[str, Any]) -> int:
        """Note a run, before its first row.

        Args:
            record: what is known of it by then, by the keys of a run record (docs/predict.md): `models` and `prompts`
                must be there, and what else is in DECISIVE tells its numbers from those of other runs.

        Returns:
            The number of the run.
        """
        token = secrets.token_hex(8)

        def begin(connection: Any) -> int:
            setting = _one(connection, schema.settings, _setting(record))
            entries = [_prompts(entry) for entry in record["prompts"]]
            ids = _added(connection, schema.prompts, entries)[0]
            run = {
                "token": token,  # tells whether it is there already, where a connection was lost after it was written
                "setting": setting,
                "started": record.get("started") or datetime.now(UTC).isoformat(timespec="milliseconds"),
                "record": json.dumps(record, ensure_ascii=False),
            }
            _insert(connection, schema.runs, [run])
            number = connection.execute(sqlalchemy.select(schema.runs.c.id).filter_by(token=token)).scalar_one()
            asked = [{"run": number, "place": place, "prompt": each} for place, each in enumerate(ids)]
            _insert(connection, schema.asked, asked)
            return int(number)

        return self.connector.write(begin)

    def add(
        self, run: int, rows: Sequence[Prediction], *, start: int | None = None, pictures: Sequence[str] = ()
    ) -> int:
        """Add what of some rows is new, in one transaction. Adding the same again changes nothing.

        Args:
            run: from `begin_run`.
            rows: with scores for labels of the run; failed and skipped ones, too.
            start: the place of the first row in the run's table, the others follow. None puts them behind those that
                are there, and each film in the state of its row once.
            pictures: for each row what stands for its picture (`cxrzero.predict.inputs.picture_line`). Without them a
                film that comes again with other pixels under its UID keeps the scores of the first.

        Returns:
            How many of the rows are new: their film was never scored so, or what was read of it is different.

        Raises:
            DatabaseError: the database cannot be reached or written; nothing of these rows was added.
            LabelError: a row has a label that the run does not ask.
        """
        if not rows:
            return 0
        return self.connector.write(lambda connection: self._add(connection, run, rows, start, pictures))

    def end_run(self, run: int, record: Mapping[str, Any]) -> None:
        """Note that a run has come to its end, with its whole record."""
        values = {"ended": record.get("ended") or datetime.now(UTC).isoformat(timespec="milliseconds")}

        def end(connection: Any) -> None:
            runs = schema.runs
            connection.execute(
                runs.update().where(runs.c.id == run), {**values, "record": json.dumps(record, ensure_ascii=False)}
            )

        self.connector.write(end)

    def close(self) -> None:
        self.connector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(
        self, connection: Any, run: int, rows: Sequence[Prediction], start: int | None, pictures: Sequence[str]
    ) -> int:
        # Two that add to one run wait for each other, so that no place is given twice.
        connection.execute(sqlalchemy.select(schema.runs.c.id).filter_by(id=run).with_for_update(key_share=True))
        asked = self._asked_by(connection, run)
        films, _ = _added(connection, schema.films, list(map(_film, rows, pictures or itertools.repeat(""))))
        facts, new_facts = _added(connection, schema.facts, list(map(_facts, rows, films)))
        scores = [each for row, film in zip(rows, films, strict=True) for each in _scores(row, film, run, asked)]
        # In one order, see `_added`.
        scores.sort(key=lambda each: (each["film"], each["prompt"]))
        new_scores = {film for (film,) in _insert(connection, schema.scores, scores, schema.scores.c.film)}
        _insert(connection, schema.listed, _places(connection, run, facts, start))
        return sum(each in new_facts or film in new_scores for each, film in zip(facts, films, strict=True))

    def _asked_by(self, connection: Any, run: int) -> _Asked:
        if run not in self._asked:
            setting = connection.execute(sqlalchemy.select(schema.runs.c.setting).filter_by(id=run)).scalar()
            if setting is None:
                raise DatabaseError(f"the database {self.address} has no run {run}")
            query = (
                sqlalchemy.select(schema.prompts.c.label, schema.prompts.c.id)
                .join(schema.asked, schema.asked.c.prompt == schema.prompts.c.id)
                .where(schema.asked.c.run == run)
                .order_by(schema.asked.c.place)
            )
            self._asked[run] = _Asked(setting, dict(connection.execute(query).all()))
        return self._asked[run]


def check(address: Address) -> None:
    """See `cxrzero.database.check_database`."""
    connector = Connector(address)
    try:
        with connector.reading() as connection:
            if not schema.is_empty(connection):
                schema.check(connection, address)
    finally:
        connector.close()


def decisive_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's numbers beside its prompts, by the keys of its record and the names of its options."""
    decisive = {key: record.get(key) for key in DECISIVE}
    # Of a calibration its file: the record has what that says of the labels asked, which are not the same in every run.
    decisive["calibration"] = (record.get("calibration") or {}).get("sha256")
    # Python's own version decides nothing.
    decisive["versions"] = {name: text for name, text in (record.get("versions") or {}).items() if name != "python"}
    options = record.get("options") or {}
    return decisive | {name: value for name, value in options.items() if name not in OTHER_OPTIONS}


def _setting(record: Mapping[str, Any]) -> Row:
    models = record["models"]
    return _digested(
        model="+".join(str(model.get("name", "")) for model in models),
        fingerprint="+".join(str(model["fingerprint"]) for model in models),
        record=_json(decisive_of(record)),
    )


def _prompts(entry: Mapping[str, Any]) -> Row:
    return _digested(label=entry["label"], record=_json(entry))


def _film(row: Prediction, picture: str) -> Row:
    uid = row.facts.sop_instance_uid
    path = "" if uid else printable_path(row.path)
    return _digested(sop_instance_uid=uid, path=path, picture=picture, frame=row.frame)


def _facts(row: Prediction, film: int) -> Row:
    cells = dict(zip(FIXED_COLUMNS, row.fixed(), strict=True))
    del cells["frame"]
    folder = printable_path(os.path.dirname(row.path) or ".")
    return _digested(film=film, folder=folder, **cells)


def _scores(row: Prediction, film: int, run: int, asked: _Asked) -> Iterator[Row]:
    for label, probability in row.scores.items():
        if label not in asked.prompts:
            raise LabelError(f"the run does not ask for {label!r}")
        yield {
            "film": film,
            "setting": asked.setting,
            "prompt": asked.prompts[label],
            "run": run,
            "probability": probability,
            **{kind: getattr(row, kind).get(label) for kind in KINDS},
        }


def _places(connection: Any, run: int, facts: Sequence[int], start: int | None) -> list[Row]:
    """Where rows stand in the run's table."""
    if start is None:
        listed = schema.listed
        start = connection.execute(
            sqlalchemy.select(sqlalchemy.func.coalesce(sqlalchemy.func.max(listed.c.position) + 1, 0)).filter_by(
                run=run
            )
        ).scalar_one()
        query = sqlalchemy.select(listed.c.facts).where(listed.c.run == run, listed.c.facts.in_(facts))
        there = set(connection.execute(query).scalars())
        facts = [each for each in dict.fromkeys(facts) if each not in there]
    return [{"run": run, "position": place, "facts": each} for place, each in enumerate(facts, start)]


def _one(connection: Any, table: Any, row: Row) -> int:
    return _added(connection, table, [row])[0][0]


def _added(connection: Any, table: Any, rows: Sequence[Row]) -> tuple[list[int], set[int]]:
    """Add the rows whose digest is not there; the ids of all, in order, and those of the added ones."""
    unique = {row["digest"]: row for row in rows}
    digests = list(unique)
    ids: dict[bytes, int] = {}

    def look_up(wanted: Sequence[bytes]) -> None:
        for start in range(0, len(wanted), AT_ONCE):
            some = table.c.digest.in_(wanted[start : start + AT_ONCE])
            query = sqlalchemy.select(table.c.digest, table.c.id).where(some)
            ids.update((bytes(digest), number) for digest, number in connection.execute(query))

    look_up(digests)
    missing = [digest for digest in digests if digest not in ids]
    # In one order, so that two that add the same at once wait for each other and do not lock each other out.
    added = {number for (number,) in _insert(connection, table, [unique[d] for d in sorted(missing)], table.c.id)}
    look_up(missing)
    return [ids[row["digest"]] for row in rows], added


def _insert(connection: Any, table: Any, rows: Sequence[Row], *returning: Any) -> list[tuple[Any, ...]]:
    """Insert rows that are not there; what of the inserted ones is asked for."""
    if not rows:
        return []
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert
    statement = insert(table).on_conflict_do_nothing().returning(*(returning or list(table.primary_key)[:1]))
    return [tuple(each) for each in connection.execute(statement, rows)]


def _digested(**cells: Any) -> Row:
    text = json.dumps(cells, sort_keys=True, ensure_ascii=True).encode("ascii")
    return {**cells, "digest": hashlib.blake2b(text, digest_size=schema.DIGEST_BYTES).digest()}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
