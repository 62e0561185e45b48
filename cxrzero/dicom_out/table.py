"""A prediction table → its rows, those of a study or an image together; of the table only these are kept in memory.

The table is read twice. The first reading keeps 16 bytes of each row: which group it is in, and where that ends. So a
group is complete as soon as its last row is read, wherever in the table its rows stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrzero.choices import ReportPer
from cxrzero.errors import ConfigError
from cxrzero.heatmap.table import labels_of
from cxrzero.images.radiograph import Facts
from cxrzero.maths import Ints
from cxrzero.prediction import FACT_COLUMNS, Prediction
from cxrzero.tables.read import TableSource, chunks, floats, number, open_table
from cxrzero.tables.rows import KINDS

# What of a row decides a report; cosines do not.
NUMBERS = tuple(kind for kind in KINDS if not kind.startswith("cos_"))
TEXTS = ("path", "frame", *FACT_COLUMNS, "status", "flags", "error")
GROUP_BY: Mapping[ReportPer, str] = {"study": "study_instance_uid", "image": "sop_instance_uid"}


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table that `predict` wrote, opened.

    Attributes:
        labels: in the order of the columns.
    """

    source: TableSource
    labels: tuple[str, ...]

    def groups(self, per: ReportPer) -> tuple[int, Iterator[list[Prediction]]]:
        """How many rows there are, and all of them: those of one study or image together, in the order of their last
        rows, and rows without its UID alone.

        Raises:
            ConfigError: a row is ragged, or a cell is no number.
        """
        ends = _ends(self.source, GROUP_BY[per])
        return len(ends), self._groups(GROUP_BY[per], ends)

    def _groups(self, column: str, ends: Ints) -> Iterator[list[Prediction]]:
        waiting: dict[str, list[Prediction]] = {}
        for number_of_row, row in enumerate(self.rows()):
            uid = str(row[column])
            waiting.setdefault(uid, []).append(row)
            if number_of_row == ends[number_of_row] or not uid:
                yield waiting.pop(uid)
        yield from waiting.values()  # of two UIDs with one hash, the first

    def rows(self) -> Iterator[Prediction]:
        """All rows, in order."""
        columns = [name for name in TEXTS if name in self.source.columns]
        kinds = {kind: [label for label in self.labels if f"{label}_{kind}" in self.source.columns] for kind in NUMBERS}
        derived = [f"{label}_{kind}" for kind, labels in kinds.items() for label in labels]
        for first, count, cells_of in chunks(self.source, (*columns, *self.labels, *derived)):
            texts = {name: [cell.strip() for cell in cells_of(name)] for name in columns if name != "path"}
            texts["path"] = cells_of("path")
            values = {name: floats(cells_of(name), self.source.path, name, first) for name in (*self.labels, *derived)}
            for at in range(count):
                yield self._row({name: texts[name][at] if name in texts else "" for name in TEXTS},
                                {name: float(each[at]) for name, each in values.items()}, kinds)  # fmt: skip

    def _row(
        self, cells: Mapping[str, str], values: Mapping[str, float], kinds: Mapping[str, Sequence[str]]
    ) -> Prediction:
        def stated(labels: Sequence[str], kind: str = "") -> dict[str, float]:
            found = ((label, values[f"{label}_{kind}" if kind else label]) for label in labels)
            return {label: value for label, value in found if value == value}

        return Prediction(
            path=cells["path"],
            labels=self.labels,
            status=cells["status"],
            frame=_frame(cells["frame"]),
            facts=Facts(*(cells[name] for name in FACT_COLUMNS)),
            flags=frozenset(filter(None, cells["flags"].split(";"))),
            error=cells["error"],
            code=cells["error"].partition(":")[0],
            scores=stated(self.labels),
            calibrated=stated(kinds["calibrated"], "calibrated"),
            decision={label: int(value) for label, value in stated(kinds["decision"], "decision").items()},
            sd=stated(kinds["sd"], "sd"),
        )


def open_predictions(path: Path) -> PredictionTable:
    """Open a table of CSV, JSON Lines or Parquet.

    Raises:
        NoInputError, ConfigError: see `cxrzero.tables.read.open_table`; it is no table of `predict`, or has no UIDs.
        LabelError: it has no column of a label.
    """
    source = open_table(path)
    labels = labels_of(source, None)
    for column in GROUP_BY.values():
        if column not in source.columns:
            raise ConfigError(
                f"{path}: the table has no column {column!r}, so it does not say which films its rows are of"
            )
    return PredictionTable(source, labels)


def _ends(source: TableSource, column: str) -> Ints:
    """(N,) for each row the number of the last row of its group."""
    parts: list[Ints] = []
    for _, _, cells_of in chunks(source, (column,)):
        parts.append(np.array([hash(cell.strip()) for cell in cells_of(column)], np.int64))
    if not parts:
        return np.zeros(0, np.int64)
    _, group = np.unique(np.concatenate(parts), return_inverse=True)
    last = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(last, group, np.arange(len(group)))
    return np.asarray(last[group], np.int64)


def _frame(cell: str) -> int | None:
    value = number(cell)
    return int(value) if value == value else None
