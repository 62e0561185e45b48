"""A prediction table read twice: numbers that decide the order of all rows, then the rows that are shown.

Of the first reading only numbers are kept, some tens of bytes a row, so that millions of rows fit anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.columns import prediction_labels
from cxrzero.maths import Bools, Float32s, Floats, Ints
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.tables.names import fold, some_of
from cxrzero.tables.read import TableSource, chunks, floats, number, open_table

NEEDED = ("path", "status")
# What stands beside a label's probability, by the end of the column's name.
KINDS = ("calibrated", "decision", "sd")
UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
# When a film came in: what a table that grows has, in ISO 8601 or in seconds since 1970.
RECEIVED = "received"
# Rows that are left out are counted by their reason; of so many the path is kept.
MOST_EXAMPLES = 100


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a prediction table there are.

    Attributes:
        labels: in the order of the columns.
        kinds: of KINDS those that any label has.
    """

    source: TableSource
    labels: tuple[str, ...]
    kinds: tuple[str, ...]

    def column(self, label: str, kind: str) -> str | None:
        """The column that has this kind of number for a label."""
        name = f"{label}_{kind}"
        return name if name in self.source.columns else None

    def named(self, typed: str) -> str:
        """The label that a user means, in whatever spelling.

        Raises:
            LabelError: there is none.
        """
        found = next((label for label in self.labels if fold(label) == fold(typed)), None)
        if found is None:
            raise LabelError(f"{self.source.path} has no label {typed!r}; its labels: {some_of(self.labels)}")
        return found


@dataclass(frozen=True, slots=True)
class Film:
    """A row that is shown.

    Attributes:
        row: its number in the table, from 0.
        path: the cell; `cxrzero.worklist.names` knows how to find the file.
        frame: 1-based; None where the table has none.
        numbers: kind ("probability" or of KINDS) → for each label its number, None where the cell is blank.
    """

    row: int
    path: str
    frame: int | None
    study: str
    series: str
    sop: str
    modality: str
    view: str
    flags: tuple[str, ...]
    numbers: dict[str, tuple[float | None, ...]]

    @property
    def probabilities(self) -> tuple[float | None, ...]:
        return self.numbers["probability"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that no order has a place for.

    Attributes:
        counts: (status, reason's code) → rows.
        examples: (path cell, frame cell, `code: message`) of the first of them.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, status: str, error: str, path: str, frame: str) -> None:
        self.counts[status, error.partition(":")[0] or "no reason given"] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append((path, frame, error or status))


@dataclass(frozen=True, slots=True)
class Scan:
    """What the first reading keeps of N rows.

    Attributes:
        scored: (N,) whether a row may be shown.
        values: (N, K) float32 of the columns asked for, NaN where blank.
        studies: (N,) equal for rows of one study, 0 where none is stated.
        received: (N,) seconds since 1970 at which a film came in, NaN where nobody knows; None if not asked for.
    """

    scored: Bools
    values: Float32s
    studies: Ints
    received: Floats | None
    left_out: LeftOut


def open_predictions(path: Path) -> Layout:
    """Open a table that `predict` wrote.

    Raises:
        NoInputError, ConfigError: see `cxrzero.tables.read.open_table`; it is no prediction table of films.
    """
    source = open_table(path)
    columns = set(source.columns)
    if {"label", "probability"} <= columns and set(NEEDED) <= columns:
        raise ConfigError(f"{path}: this is a table of --long, with a row per label; predict without --long")
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ConfigError(
            f"{path}: no prediction table of films, which has a column {missing[0]!r}; its columns: "
            f"{some_of(source.columns)}"
        )
    labels = tuple(name for name in prediction_labels(source) if name != RECEIVED)
    if not labels:
        raise LabelError(f"{path}: the table has no column of a label")
    kinds = tuple(kind for kind in KINDS if any(f"{label}_{kind}" in columns for label in labels))
    return Layout(source, labels, kinds)


def scan(layout: Layout, wanted: Sequence[str], received: Callable[[str], float] | None = None) -> Scan:
    """Read the table for the first time.

    Args:
        wanted: columns of numbers to keep, of which a row that is shown has at least one; none keeps all scored rows.
        received: the time of a file by its path cell, where the table does not say it; None asks for no times.

    Raises:
        ConfigError: a row is ragged, or a cell is no number.
    """
    source = layout.source
    has = set(source.columns)
    text = [name for name in ("path", "status", "frame", "error", "study_instance_uid", RECEIVED) if name in has]
    parts: dict[str, list[np.ndarray]] = {"scored": [], "values": [], "studies": [], "received": []}
    left_out = LeftOut()
    for first, count, cells_of in chunks(source, (*text, *wanted)):
        values = np.empty((count, len(wanted)), np.float32)
        for place, name in enumerate(wanted):
            values[:, place] = floats(cells_of(name), source.path, name, first)
        status = [cell.strip() for cell in cells_of("status")]
        scored = np.array([each == "ok" for each in status])
        if wanted:
            blank = scored & np.isnan(values).all(axis=1)
            scored &= ~blank
        _note_left_out(left_out, scored, status, cells_of, has)
        parts["scored"].append(scored)
        parts["values"].append(values)
        parts["studies"].append(_studies(cells_of, has, count))
        if received is not None:
            parts["received"].append(_times(cells_of, has, scored, received))
    joined = {name: np.concatenate(each) for name, each in parts.items() if each}
    if not joined:
        raise ConfigError(f"{source.path}: the table has a header but no rows")
    return Scan(joined["scored"], joined["values"], joined["studies"], joined.get("received"), left_out)


def films_of(
    layout: Layout, rows: Collection[int], studies: Collection[int] = ()
) -> tuple[dict[int, Film], list[Film]]:
    """Read the table again: the rows of these numbers, and other scored rows of these studies (`Scan.studies`)."""
    chosen, beside = set(rows), set(studies) - {0}
    found: dict[int, Film] = {}
    others: list[Film] = []
    has = set(layout.source.columns)
    columns = [name for name in (*FIXED_COLUMNS, *layout.labels) if name in has]
    columns += [name for kind in layout.kinds for label in layout.labels if (name := layout.column(label, kind))]
    for first, count, cells_of in chunks(layout.source, columns):
        wanted = {row - first for row in chosen if first <= row < first + count}
        related: set[int] = set()
        if beside:
            status = cells_of("status")
            keys = enumerate(_studies(cells_of, has, count).tolist())
            related = {at for at, key in keys if key in beside and status[at].strip() == "ok"} - wanted
        if not wanted and not related:
            continue
        cells_by = {name: cells_of(name) for name in columns}
        for at in sorted(wanted | related):
            film = _film(layout, first + at, {name: cells[at] for name, cells in cells_by.items()})
            if at in wanted:
                found[film.row] = film
            else:
                others.append(film)
    return found, others


def _film(layout: Layout, row: int, cells: dict[str, str]) -> Film:
    def numbers(kind: str) -> Iterator[float | None]:
        for label in layout.labels:
            name = label if kind == "probability" else layout.column(label, kind)
            value = number(cells[name]) if name else float("nan")
            yield None if np.isnan(value) else value

    def text(name: str) -> str:
        return cells.get(name, "").strip()

    frame = number(cells.get("frame", ""))
    return Film(
        row=row,
        path=cells["path"],
        frame=None if np.isnan(frame) else int(frame),
        study=text(UIDS[0]),
        series=text(UIDS[1]),
        sop=text(UIDS[2]),
        modality=text("modality"),
        view=text("view_position"),
        flags=tuple(flag for flag in text("flags").split(";") if flag),
        numbers={kind: tuple(numbers(kind)) for kind in ("probability", *layout.kinds)},
    )


def _note_left_out(
    left_out: LeftOut, scored: Bools, status: Sequence[str], cells_of: Callable[[str], list[str]], has: set[str]
) -> None:
    rows = np.flatnonzero(~scored)
    if not len(rows):
        return
    paths = cells_of("path")
    frames = cells_of("frame") if "frame" in has else [""] * len(paths)
    errors = cells_of("error") if "error" in has else [""] * len(paths)
    for row in rows.tolist():
        is_blank = status[row] == "ok"
        error = "no number: the row has none for what decides the order" if is_blank else errors[row].strip()
        left_out.add("not ranked" if is_blank else status[row] or "no status", error, paths[row], frames[row])


def _studies(cells_of: Callable[[str], list[str]], has: set[str], count: int) -> Ints:
    if "study_instance_uid" not in has:
        return np.zeros(count, np.int64)
    return np.array([hash(cell) if cell else 0 for cell in cells_of("study_instance_uid")], np.int64)


def _times(
    cells_of: Callable[[str], list[str]], has: set[str], scored: Bools, received: Callable[[str], float]
) -> Floats:
    times = np.full(len(scored), np.nan)
    stated = cells_of(RECEIVED) if RECEIVED in has else None
    paths = cells_of("path")
    for row in np.flatnonzero(scored).tolist():
        time = float("nan") if stated is None else seconds(stated[row])
        times[row] = received(paths[row]) if np.isnan(time) else time
    return times


def seconds(cell: str) -> float:
    """A time in ISO 8601 (without a zone it is UTC), or a number of seconds since 1970; NaN for what is neither."""
    import datetime

    try:
        return number(cell)
    except ValueError:
        pass
    try:
        time = datetime.datetime.fromisoformat(cell.strip())
    except ValueError:
        return float("nan")
    return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
