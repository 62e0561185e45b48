"""Rows of a database again, as `predict` gave them: of one run, or of each film the newest."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy
from sqlalchemy import and_, case, func, select

from cxrzero.database import schema
from cxrzero.database.store import Database, decisive_of
from cxrzero.display.counts import together
from cxrzero.errors import DatabaseError, LabelError, NoInputError, UsageError
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import FACT_COLUMNS, Prediction
from cxrzero.tables.rows import KINDS

Newest = Literal["latest"]

# Rows whose scores are read at once.
AT_ONCE = 500
# What runs whose rows stand in one table may differ in: where and by which versions they were computed, and whether
# there are cosines.
MAY_DIFFER = frozenset({"cxrzero", "versions", "backend", "device", "models", "scores"})
# Of a fingerprint so many digits are enough to name a model.
LEAST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the database.

    Attributes:
        number: 1 for the first.
        ended: empty where it was interrupted, or goes on.
        record: its run record, or what was known of it when it began.
        prompts: label → id of what was asked for it, in order.
    """

    number: int
    model: str
    fingerprint: str
    setting: int
    started: str
    ended: str
    record: Mapping[str, Any]
    prompts: Mapping[str, int]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of KINDS that its rows have."""
        options = self.record.get("options") or {}
        has = {
            "calibrated": self.record.get("calibration") is not None,
            "decision": self.record.get("calibration") is not None,
            "sd": len(self.record.get("models") or ()) > 1,
            "cos_pos": bool(options.get("scores")),
            "cos_neg": bool(options.get("scores")),
        }
        return tuple(kind for kind in KINDS if has[kind])


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a database is read.

    Attributes:
        runs: the oldest first; of a film that several have, the rows of the newest.
        labels: in the order of the columns.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of its runs."""
        return tuple(run.number for run in self.runs)

    @property
    def newest(self) -> Run:
        return self.runs[-1]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in KINDS if any(kind in run.kinds for run in self.runs))


def runs_of(database: Database) -> list[Run]:
    """All runs, the oldest first."""
    runs, settings, prompts, asked = schema.runs, schema.settings, schema.prompts, schema.asked
    with database.connector.reading() as connection:
        by_run: dict[int, dict[str, int]] = {}
        query = select(asked.c.run, prompts.c.label, prompts.c.id).join(prompts).order_by(asked.c.run, asked.c.place)
        for run, label, prompt in connection.execute(query):
            by_run.setdefault(run, {})[label] = prompt
        query = select(
            runs.c.id,
            settings.c.model,
            settings.c.fingerprint,
            settings.c.id,
            runs.c.started,
            runs.c.ended,
            runs.c.record,
        ).join(settings)
        with _checked(database):
            return [
                Run(number, model, fingerprint, setting, started, ended or "", _record(text), by_run.get(number, {}))
                for number, model, fingerprint, setting, started, ended, text in connection.execute(
                    query.order_by(runs.c.id)
                )
            ]


def choose(
    database: Database, run: int | Newest | None = None, model: str | None = None, labels: Sequence[str] | None = None
) -> Selection:
    """Decide what is read.

    Args:
        run: its number, or the newest; None takes all runs of the model together.
        model: a name, or the first digits of a fingerprint; None where there is one model alone.
        labels: None takes all that were asked.

    Raises:
        NoInputError: there is no run.
        UsageError: several models are there and none is named, or runs do not go together.
        LabelError: a label was not asked.
    """
    runs = _of_model(runs_of(database), model)
    if not runs:
        raise NoInputError(f"the database {database.address} has no run yet")
    if run == "latest":
        runs = runs[-1:]
    elif run is not None:
        numbers = [each.number for each in runs]
        runs = [each for each in runs if each.number == run]
        if not runs:
            raise NoInputError(f"the database {database.address} has no such run {run}; it has {_span(numbers)}")
    fingerprints = dict.fromkeys(f"{each.model} ({each.fingerprint[:12]})" for each in runs)
    if len(fingerprints) > 1:
        raise UsageError(
            f"the database {database.address} has scores of several models, {together(list(fingerprints))}; choose one "
            "with --model, or a run with --run"
        )
    asked = tuple(dict.fromkeys(label for each in runs for label in each.prompts))
    missing = [label for label in labels or () if label not in asked]
    if missing:
        raise LabelError(f"{together(missing)}: not asked in the runs that were chosen, which have {', '.join(asked)}")
    selection = Selection(tuple(runs), tuple(labels or asked))
    _check_alike(selection)
    return selection


def rows_of(database: Database, selection: Selection) -> Iterator[Prediction]:
    """The rows, in the order of the runs and in theirs of their tables.

    Raises:
        DatabaseError: the database cannot be read any more.
    """
    with database.connector.reading() as connection:
        for part in connection.execute(_listed(selection)).partitions(AT_ONCE):
            with _checked(database):
                rows = list(_predictions(connection, selection, part))
            yield from rows


@contextmanager
def _checked(database: Database) -> Iterator[None]:
    """A file may be a stranger's: what is not of the type that we write is an error."""
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise DatabaseError(f"the database {database.address} has rows that cxrzero does not write") from error


def _record(text: str) -> dict[str, Any]:
    """A run's record, as far as it is used here."""
    record: dict[str, Any] = json.loads(text)
    for entry in record["prompts"]:
        _text(entry["label"])
    for remark in record.get("remarks") or ():
        _text(remark["label"])
    for name in ("options", "calibration", "prompt_sources", "location", "counts"):
        (record.get(name) or {}).items()
    ((record.get("calibration") or {}).get("labels") or {}).items()
    return record


def _text(cell: object) -> str:
    if not isinstance(cell, str):
        raise TypeError("no text")
    return cell


def _of_model(runs: list[Run], model: str | None) -> list[Run]:
    if model is None:
        return runs
    found = [each for each in runs if each.model == model]
    if not found and len(model) >= LEAST_DIGITS:
        found = [each for each in runs if each.fingerprint.startswith(model)]
    if runs and not found:
        names = dict.fromkeys(f"{each.model} ({each.fingerprint[:12]})" for each in runs)
        raise UsageError(f"--model {model} has no run in the database; it has those of {together(list(names))}")
    return found


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _check_alike(selection: Selection) -> None:
    """Numbers of one column must mean the same.

    Raises:
        UsageError: naming the runs and what differs.
    """
    for label in selection.labels:
        prompts: dict[int, int] = {}
        for run in selection.runs:
            if label in run.prompts:
                prompts.setdefault(run.prompts[label], run.number)
        if len(prompts) > 1:
            raise _unlike(list(prompts.values()), f"the sentences asked for {label!r}")
    settings = [(run.number, decisive_of(run.record)) for run in selection.runs]
    for name in dict.fromkeys(name for _, setting in settings for name in setting if name not in MAY_DIFFER):
        values: dict[str, int] = {}
        for number, setting in settings:
            if setting.get(name) is not None:
                values.setdefault(json.dumps(setting[name], sort_keys=True), number)
        if len(values) > 1:
            raise _unlike(list(values.values()), name)


def _unlike(runs: Sequence[int], what: str) -> UsageError:
    return UsageError(f"runs {together([str(run) for run in runs])} differ in {what}; choose one with --run")


def _listed(selection: Selection) -> Any:
    """The rows, each with its film; of a film in several runs those of the newest (`schema`: what a film is)."""
    facts, films, listed = schema.facts, schema.films, schema.listed
    film = case((facts.c.sop_instance_uid == "", facts.c.path), else_=facts.c.sop_instance_uid)
    columns = (facts.c.film, films.c.frame, *(facts.c[name] for name in _CELLS))
    of_runs = (
        select(
            listed.c.run,
            listed.c.position,
            *columns,
            func.rank().over(partition_by=film, order_by=listed.c.run.desc()).label("age"),
            func.max(listed.c.run).over(partition_by=facts.c.path).label("path_read_in"),
        )
        .join(facts, facts.c.id == listed.c.facts)
        .join(films, films.c.id == facts.c.film)
        .where(listed.c.run.in_(selection.numbers))
        .subquery()
    )
    cells = [of_runs.c[column.name] for column in columns]
    # A file of which nothing could be read is no film any more once a newer run has read its path.
    is_superseded = and_(
        of_runs.c.status != "ok", of_runs.c.sop_instance_uid == "", of_runs.c.path_read_in > of_runs.c.run
    )
    return (
        select(*cells)
        .where(of_runs.c.age == 1, sqlalchemy.not_(is_superseded))
        .order_by(of_runs.c.run, of_runs.c.position)
    )


_CELLS = ("path", *FACT_COLUMNS, "status", "flags", "error")


def _predictions(connection: Any, selection: Selection, part: Sequence[Any]) -> Iterator[Prediction]:
    numbers = _scores(connection, selection, {row.film for row in part})
    for row in part:
        scored = numbers.get(row.film, {}) if row.status == "ok" else {}
        yield Prediction(
            _text(row.path),
            selection.labels,
            _text(row.status),
            None if row.frame is None else operator.index(row.frame),
            Facts(*(_text(getattr(row, name)) for name in FACT_COLUMNS)),
            frozenset(filter(None, row.flags.split(";"))),
            _text(row.error),
            code=row.error.partition(":")[0],
            scores=scored.get("probability", {}),
            **{kind: scored.get(kind, {}) for kind in KINDS},
        )


def _scores(connection: Any, selection: Selection, films: set[int]) -> dict[int, dict[str, dict[str, Any]]]:
    """Film → kind → label → number, of the newest run that has it."""
    scores, listed, facts, runs, asked, prompts = (
        schema.scores, schema.listed, schema.facts, schema.runs, schema.asked, schema.prompts,
    )  # fmt: skip
    kinds = ("probability", *KINDS)
    query = (
        select(scores.c.film, prompts.c.label, *(scores.c[kind] for kind in kinds))
        .select_from(facts)
        .join(listed, listed.c.facts == facts.c.id)
        .join(runs, runs.c.id == listed.c.run)
        .join(asked, asked.c.run == runs.c.id)
        .join(prompts, prompts.c.id == asked.c.prompt)
        .join(
            scores,
            and_(
                scores.c.film == facts.c.film,
                scores.c.setting == runs.c.setting,
                scores.c.prompt == asked.c.prompt,
            ),
        )
        .where(facts.c.film.in_(films), runs.c.id.in_(selection.numbers))
        .order_by(runs.c.id)
    )
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for film, label, *numbers in connection.execute(query):
        by_kind = found.setdefault(film, {})
        for kind, number in zip(kinds, numbers, strict=True):
            by_kind.setdefault(kind, {})[label] = _exact(number)
    return found


def _exact(number: float | int | None) -> float | int | None:
    """What `predict` had: float32 numbers, of which a server gives the shortest decimals."""
    if number is None or isinstance(number, int):
        return number
    return float(np.float32(number))
