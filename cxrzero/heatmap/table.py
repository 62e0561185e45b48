"""Films of a prediction table: of each label the highest, and whether they still are what the table says."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, ImageError, LabelError
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import Film
from cxrzero.maths import Bools, Floats
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.tables.changed import OTHER_FILM, TOLERANCE
from cxrzero.tables.names import fold, some_of
from cxrzero.tables.paths import path_of_cell
from cxrzero.tables.read import TableSource, chunks, floats, number, open_table
from cxrzero.tables.rows import KINDS

TEXTS = ("path", "frame", "sop_instance_uid", "status")
# Of each label: value, minus the row's number (of equal values the earlier row is higher), its first three texts.
Heap = list[tuple[float, int, tuple[str, str, str]]]


@dataclass(slots=True)
class Listed:
    """A row of the table.

    Attributes:
        path: where its file should be.
        frame: 1-based.
        sop: SOP Instance UID, "" where none is stated.
        stated: label → probability, of the labels that it is listed for.
    """

    path: str
    frame: int
    sop: str
    stated: dict[str, float] = field(default_factory=dict)

    def check(self, film: Film, maps: FilmMaps) -> None:
        """Compare what was read and scored now with the table.

        Raises:
            ImageError: "changed", if it is not the same.
        """
        if self.sop and film.facts.sop_instance_uid != self.sop:
            raise ImageError("changed", OTHER_FILM)
        for label, then in self.stated.items():
            now = float(maps.probabilities[maps.labels.index(label)])
            if abs(now - then) > TOLERANCE:
                raise ImageError(
                    "changed",
                    f"{label} is {now:.5f} now and {then:.5f} in the table, so the file, the model, the prompts or "
                    "how it is decoded have changed",
                )


def labels_of(source: TableSource, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The labels that a table of `predict` has, or those of them that are asked.

    Raises:
        ConfigError: it is no such table.
        LabelError: it lacks a label.
    """
    columns = set(source.columns)
    if {"label", "probability", "path"} <= columns:
        raise ConfigError(f"{source.path}: this is a table of --long, with a row per label; predict without --long")
    missing = [name for name in ("path", "status") if name not in columns]
    if missing:
        raise ConfigError(f"{source.path}: no table of cxrzero predict, which has a column {missing[0]!r}")
    beside = {f"{label}_{kind}" for label in columns for kind in KINDS}
    there = [name for name in source.columns if name not in FIXED_COLUMNS and name not in beside]
    if asked is None:
        if not there:
            raise LabelError(f"{source.path}: the table has no column of a label")
        return tuple(there)
    by_name = {fold(name): name for name in there}
    lacking = [label for label in asked if fold(label) not in by_name]
    if lacking:
        raise LabelError(f"{source.path} has no label {lacking[0]!r}; its labels: {some_of(there)}")
    return tuple(by_name[fold(label)] for label in asked)


def highest(path: Path, asked: Sequence[str] | None, top: int) -> tuple[tuple[str, ...], list[Listed]]:
    """The `top` scored rows of each label, highest first, those of the first label before others; each row once.

    Of the table only these rows are kept in memory. Of equal values the earlier row is higher.

    Raises:
        NoInputError, ConfigError, LabelError: see `open_table` and `labels_of`; a cell is no number.
    """
    source = open_table(path)
    labels = labels_of(source, asked)
    heaps: list[Heap] = [[] for _ in labels]
    text = [name for name in TEXTS if name in source.columns]
    for first, _, cells_of in chunks(source, (*text, *labels)):
        scored = np.array([cell.strip() == "ok" for cell in cells_of("status")])
        texts = [cells_of(name) if name in text else [""] * len(scored) for name in TEXTS[:3]]
        for heap, label in zip(heaps, labels, strict=True):
            values = floats(cells_of(label), source.path, label, first)
            for row in _candidates(values, scored, top):
                entry = (float(values[row]), -(first + row), (texts[0][row], texts[1][row], texts[2][row]))
                if len(heap) < top:
                    heapq.heappush(heap, entry)
                else:
                    heapq.heappushpop(heap, entry)
    found: dict[int, Listed] = {}
    for heap, label in zip(heaps, labels, strict=True):
        for value, row, (cell, frame, sop) in sorted(heap, reverse=True):
            listed = found.setdefault(row, Listed(path_of_cell(cell), _frame(frame), sop.strip()))
            listed.stated[label] = value
    return labels, list(found.values())


def _candidates(values: Floats, scored: Bools, top: int) -> list[int]:
    """Rows of a part of the table that may be among the `top` of all."""
    known = scored & ~np.isnan(values)
    rows = np.flatnonzero(known)
    if len(rows) > top:
        least = np.partition(values[rows], len(rows) - top)[len(rows) - top]
        rows = np.flatnonzero(known & (values >= least))
    return [int(row) for row in rows]


def _frame(cell: str) -> int:
    try:
        value = number(cell)
    except ValueError:
        return 1
    return int(value) if value == value and value >= 1 else 1
