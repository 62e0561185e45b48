"""Slices of one walk that are done → what a single run writes, byte for byte: table, studies, database, record.

Their rows go through the `Output` of a run. What a slice cannot know is completed here: whether a picture was there
before, and so what `--skip duplicate` leaves out. Slices follow each other, so one is open at a time; held are the
digests of the pictures seen.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.errors import RunError
from cxrzero.files import write_json
from cxrzero.images.radiograph import Facts
from cxrzero.options import record_of
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.selection import Selection
from cxrzero.predict.commandline import command_line
from cxrzero.predict.growing import GrowingTable
from cxrzero.predict.inputs import Inputs
from cxrzero.predict.merge import Part, merged_record
from cxrzero.predict.output import Output
from cxrzero.predict.plan import Plan
from cxrzero.predict.run import Outcome
from cxrzero.predict.shardlog import read_shardlog, shardlog_path
from cxrzero.prediction import FACT_COLUMNS, FIXED_COLUMNS, Prediction
from cxrzero.sources import WalkCounts
from cxrzero.tables.pseudonym import Pseudonymiser
from cxrzero.tables.rows import KINDS, RowForm, row_form

# Rows that are read at once.
BLOCK_ROWS = 1024
# What of a part's options is settled for the whole run, by those who wrote the table: the rest how tasks were done.
OF_TASKS = ("batch_size", "workers", "decode_in", "fast_decode")

WIDTH = len(FIXED_COLUMNS)


def join(
    plan: Plan,
    parts: Sequence[Part],
    about: Mapping[str, Any],
    *,
    walk: WalkCounts,
    not_fetched: Mapping[str, int] | None,
    started: datetime,
    pseudonymiser: Pseudonymiser | None = None,
    new_key: Path | None = None,
) -> Outcome:
    """Write what the plan asks for, of all slices of a walk.

    Args:
        plan: of the whole run.
        parts: in the order of the walk, of one kind (`cxrzero.predict.merge.difference`).
        about: what the record says under `engine`.
        walk, not_fetched: what the walk ignored, and what it left in archives.
        pseudonymiser: by which the parts were made.

    Raises:
        RunError: a part is damaged; no table appears.
        OutputError, DatabaseError: the table cannot be written.
    """
    started_at = time.perf_counter()
    command = command_line(plan.options, pseudonymiser)
    record = _record(plan, parts, about, walk, not_fetched) | {"command": command}
    stats, inputs = RunStats(), Inputs()
    with ExitStack() as opened:
        growing = None
        if plan.is_growing:
            growing = opened.enter_context(GrowingTable(plan.out, {**record, "ended": None}))
        with Output(plan, None, None, growing) as output:
            for digest, row in _complete(_rows(plan, parts), plan.screener.selection):
                stats.count(row.status)
                inputs.add(digest)
                output.add(row, digest)
            output.commit()
        seconds, cache = record["seconds"], record["cache"]
        stats.decode_seconds, stats.encode_seconds = seconds["decode"], seconds["encode"]
        stats.cached, stats.embedded, stats.hashed = cache["cached"], cache["embedded"], cache["hashed"]
        ended = datetime.now(UTC)
        outcome = Outcome(
            stats,
            walk=walk,
            started=started,
            ended=ended,
            seconds=(ended - started).total_seconds(),
            write_seconds=time.perf_counter() - started_at,
            inputs=inputs.record(),
            command=command,
            table_sha256=output.table_sha256,
            studies_sha256=output.studies_sha256,
            highest=output.highest,
            highest_studies=output.highest_studies,
            first_failure=output.first_failure,
            new_key=new_key,
            studies=output.studies,
            growth=growing.growth() if growing else None,
            notices=cache["notices"],
        )
        record |= _written(outcome)
        if plan.record:
            write_json(plan.record, record)
        if growing:
            growing.end(record)
    return outcome


def _record(
    plan: Plan,
    parts: Sequence[Part],
    about: Mapping[str, Any],
    walk: WalkCounts,
    not_fetched: Mapping[str, int] | None,
) -> dict[str, Any]:
    """What is known of the record before the first row."""
    merged = merged_record(parts, Path(plan.out))
    merged = {key: value for key, value in merged.items() if key not in ("merged_from", "node")}
    of_tasks = {name: merged["options"].get(name) for name in OF_TASKS}
    return {
        **merged,
        "options": record_of(plan.options, {**plan.settled, **of_tasks}),
        "counts": {**merged["counts"], "ignored_files": walk.ignored},
        "not_fetched": not_fetched,
        "engine": dict(about),
    }


def _written(outcome: Outcome) -> dict[str, Any]:
    """What the record says once the table is there."""
    stats = outcome.stats
    found: dict[str, Any] = {
        "started": outcome.started.isoformat(timespec="milliseconds"),
        "ended": outcome.ended.isoformat(timespec="milliseconds"),
        "counts": {
            "ok": stats.ok,
            "failed": stats.failed,
            "skipped": stats.skipped,
            "ignored_files": outcome.walk.ignored,
        },
        "inputs": outcome.inputs,
        "table_sha256": outcome.table_sha256,
        "studies_sha256": outcome.studies_sha256,
        "studies": {**asdict(outcome.studies), "warnings": outcome.studies.warnings()} if outcome.studies else None,
    }
    return found if outcome.growth is None else found | {"database": asdict(outcome.growth)}


def _complete(rows: Iterator[tuple[str, Prediction]], selection: Selection) -> Iterator[tuple[str, Prediction]]:
    """Rows as a run has them that sees all films: what `cxrzero.pipeline.run` does to frames, by their digests."""
    seen: set[int] = set()
    for digest, row in rows:
        if not digest:
            yield digest, row
            continue
        picture = int(digest, 16)
        if picture in seen:
            row.flags |= {"duplicate"}
        why = selection.reason(row.flags)
        if why is None:  # of equal pictures, the first that is scored stands for all
            seen.add(picture)
        else:
            facts, flags = row.facts, row.flags
            row = Prediction(row.path, row.labels, why.status, row.frame, facts, flags, str(why), code=why.code)
        yield digest, row


def _rows(plan: Plan, parts: Sequence[Part]) -> Iterator[tuple[str, Prediction]]:
    """(digest or "", row) of all parts; none may be missing and none there twice.

    Raises:
        RunError: a part's table and log do not fit together, or not to the part before.
    """
    expected = 0
    for part in parts:
        log = read_shardlog(shardlog_path(str(part.path)))
        for row in _table(part.path, plan):
            position, digest = next(log, (-1, ""))
            if position not in (expected - 1, expected):
                raise _damaged(part.path)
            expected = position + 1
            yield digest, row
        if next(log, None) is not None:
            raise _damaged(part.path)
    if expected != parts[0].shard["files_found"]:
        raise RunError(f"the tasks cover {expected:,} of {parts[0].shard['files_found']:,} films")


def _table(path: Path, plan: Plan) -> Iterator[Prediction]:
    """The rows of a part's table, as they were before they were written."""
    form = row_form(plan.form.labels, long=False, kinds=plan.form.kinds)
    columns = list(form.columns)
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            while block := [json.loads(line) for line in itertools.islice(lines, BLOCK_ROWS)]:
                if any(list(row) != columns for row in block):
                    raise _damaged(path)
                cells = [list(row.values()) for row in block]
                yield from map(_prediction, cells, _float32(cells), itertools.repeat(form))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _float32(cells: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Of each row the numbers that its decimals stand for; NaN where there is none."""
    found: list[list[float]] = np.array([row[WIDTH:] for row in cells], np.float32).tolist()
    return found


def _prediction(cells: Sequence[Any], numbers: Sequence[float], form: RowForm) -> Prediction:
    path, frame, *facts = cells[: 2 + len(FACT_COLUMNS)]
    status, flags, error = cells[2 + len(FACT_COLUMNS) : WIDTH]
    labels, flagged = dict.fromkeys(form.labels), frozenset(filter(None, flags.split(";")))
    row = Prediction(path, labels, status, frame, Facts(*facts), flagged, error, code=error.partition(":")[0])
    if status == "ok":
        for place, kind in enumerate(("scores", *form.kinds)):
            run = slice(place * len(labels), (place + 1) * len(labels))
            found = cells[WIDTH:][run]
            if KINDS.get(kind) is not int:
                found = [None if cell is None else number for cell, number in zip(found, numbers[run], strict=True)]
            setattr(row, kind, dict(zip(labels, found, strict=True)))
    return row


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} and its log do not fit together; give the same command again, and it is made again")
