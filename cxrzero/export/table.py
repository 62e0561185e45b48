"""A finished prediction table as films: of each row that was scored what another program is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrzero.errors import ConfigError, LabelError
from cxrzero.tables.finished import open_finished
from cxrzero.tables.read import TableSource, chunks, number

NEEDED = ("path", "frame", "status", "flags", "sop_instance_uid")


@dataclass(frozen=True, slots=True)
class Film:
    """A row that was scored.

    Attributes:
        row: its number in the table, from 1.
        path: the cell; `cxrzero.tables.paths` knows how to find the file.
        frame: from 1; None where the table has none.
        scores: label → probability.
        calibrated: label → calibrated probability, of those that have one.
        found: label → whether it was decided to be there, of those that were decided about.
    """

    row: int
    path: str
    frame: int | None
    sop: str
    flags: tuple[str, ...]
    scores: Mapping[str, float]
    calibrated: Mapping[str, float]
    found: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Table:
    """A wide table of `predict`.

    Attributes:
        labels: in the order of the columns.
        threshold: lowest probability of what counts as found; None leaves that to the table's decisions.
        not_scored: status → rows that have it, of those that `films` has come by.
    """

    source: TableSource
    labels: tuple[str, ...]
    threshold: float | None = None
    not_scored: Counter[str] = field(default_factory=Counter)

    def films(self) -> Iterator[Film]:
        """Read the scored films, in the order of the rows.

        Raises:
            ConfigError: a row is ragged, a cell is no number, or a scored film lacks a score.
        """
        beside = {f"{label}_{kind}" for label in self.labels for kind in ("calibrated", "decision")}
        columns = [*NEEDED, *self.labels, *(name for name in self.source.columns if name in beside)]
        for first, count, cells_of in chunks(self.source, columns):
            rows = zip(*(cells_of(name) for name in columns), strict=True)
            for row, cells in zip(range(first + 1, first + count + 1), rows, strict=True):
                if film := self._film(row, dict(zip(columns, cells, strict=True))):
                    yield film

    def _film(self, row: int, cells: Mapping[str, str]) -> Film | None:
        if (status := cells["status"].strip()) != "ok":
            self.not_scored[status or "no status"] += 1
            return None
        scores = self._numbers(row, cells, "")
        if len(scores) < len(self.labels) or not all(0 <= value <= 1 for value in scores.values()):
            raise ConfigError(f"{self.source.path}: data row {row} is of a scored film and lacks a score from 0 to 1")
        found = {label: bool(value) for label, value in self._numbers(row, cells, "_decision").items()}
        if self.threshold is not None:
            found = {label: value >= self.threshold for label, value in scores.items()}
        frame = cells["frame"].strip()
        return Film(
            row,
            cells["path"],
            int(frame) if frame.isdecimal() else None,
            cells["sop_instance_uid"].strip(),
            tuple(filter(None, cells["flags"].strip().split(";"))),
            scores,
            self._numbers(row, cells, "_calibrated"),
            found,
        )

    def _numbers(self, row: int, cells: Mapping[str, str], end: str) -> dict[str, float]:
        """Label → its number in the column whose name ends so, of those where that has one."""
        try:
            numbers = {label: number(cells[label + end]) for label in self.labels if label + end in cells}
        except ValueError:
            raise ConfigError(f"{self.source.path}: data row {row} has a cell that is not a number") from None
        return {label: value for label, value in numbers.items() if value == value}


def open_predictions(path: Path, threshold: float | None = None) -> Table:
    """Open a table that `predict` wrote.

    Raises:
        NoInputError, ConfigError: see `cxrzero.tables.finished.open_finished`; it is a table of --long.
        LabelError: it has no label.
    """
    table = open_finished(path)
    if table.is_long:
        raise ConfigError(f"{path}: this is a table of --long, with a row per label; predict without --long")
    if missing := [name for name in NEEDED if name not in table.source.columns]:
        raise ConfigError(f"{path}: no table of films by cxrzero predict, which has a column {missing[0]!r}")
    if twice := [label for label in table.labels if table.labels.count(label) > 1]:
        raise LabelError(f"{path}: two columns are called {twice[0]!r}")
    return Table(table.source, table.labels, threshold)
