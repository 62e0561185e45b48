"""A finished prediction table read back: its rows as `predict` gave them, as far as `--by study` needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, LabelError
from cxrzero.images.radiograph import Facts
from cxrzero.maths import Floats
from cxrzero.prediction import FIXED_COLUMNS, Prediction
from cxrzero.tables.read import TableSource, chunks, floats, open_table
from cxrzero.tables.rows import KINDS

NEEDED = ("path", "study_instance_uid", "status", "flags", "error")
LONG = ("frame", "label")


@dataclass(frozen=True, slots=True)
class FinishedTable:
    """A table of `predict`, `merge` or `table`, wide or long.

    Attributes:
        labels: in the order of the columns, or of the rows of the first film.
    """

    source: TableSource
    labels: tuple[str, ...]
    is_long: bool

    def rows(self) -> Iterator[Prediction]:
        """The rows, a film at a time, with the facts of NEEDED alone.

        Raises:
            ConfigError: a row is ragged, a cell is no number, or a scored film lacks a score.
        """
        return self._long_rows() if self.is_long else self._wide_rows()

    def _wide_rows(self) -> Iterator[Prediction]:
        for first, _, cells_of in chunks(self.source, (*NEEDED, *self.labels)):
            scores = [floats(cells_of(label), self.source.path, label, first) for label in self.labels]
            texts = zip(*(cells_of(name) for name in NEEDED), strict=True)
            for row, (cells, numbers) in enumerate(zip(texts, _float32(scores), strict=True), first + 1):
                yield self._prediction(cells, dict(zip(self.labels, numbers, strict=True)), row)

    def _long_rows(self) -> Iterator[Prediction]:
        film = _Film()
        for first, _, cells_of in chunks(self.source, (*NEEDED, *LONG, "probability")):
            probabilities = _float32([floats(cells_of("probability"), self.source.path, "probability", first)])
            columns = zip(*(cells_of(name) for name in (*NEEDED, *LONG)), strict=True)
            for row, (cells, (probability,)) in enumerate(zip(columns, probabilities, strict=True), first + 1):
                *texts, frame, label = cells
                if (texts, frame) != (film.texts, film.frame) or label in film.scores:
                    if film.scores:
                        yield self._prediction(film.texts, film.scores, film.row)
                    film = _Film(texts, frame, row)
                film.scores[label] = probability
        if film.scores:
            yield self._prediction(film.texts, film.scores, film.row)

    def _prediction(self, cells: Sequence[str], scores: dict[str, float], row: int) -> Prediction:
        path, study, status, flags, error = cells
        if status == "ok" and (scores.keys() != set(self.labels) or any(value != value for value in scores.values())):
            raise ConfigError(f"{self.source.path}: data row {row} is of a scored film and lacks a score")
        return Prediction(
            path,
            self.labels,
            status,
            facts=Facts(study_instance_uid=study),
            flags=frozenset(filter(None, flags.split(";"))),
            error=error,
            code=error.partition(":")[0],
            scores=scores if status == "ok" else {},
        )


@dataclass(slots=True)
class _Film:
    """Rows of a long table that are of one film, so far."""

    texts: list[str] = field(default_factory=list)
    frame: str = ""
    row: int = 0
    scores: dict[str, float] = field(default_factory=dict)


def open_finished(path: Path) -> FinishedTable:
    """Open a table that `predict` wrote.

    Raises:
        NoInputError, ConfigError: see `cxrzero.tables.read.open_table`; it is no prediction table of films.
        LabelError: it has no label.
    """
    source = open_table(path)
    missing = [name for name in NEEDED if name not in source.columns]
    if missing:
        raise ConfigError(f"{path}: no table of films by cxrzero predict, which has a column {missing[0]!r}")
    is_long = {*LONG, "probability"} <= set(source.columns)
    labels = _labels_of_first_film(source) if is_long else _labels(source.columns)
    if not labels:
        raise LabelError(f"{path}: the table has no label")
    return FinishedTable(source, labels, is_long)


def _labels(columns: Sequence[str]) -> tuple[str, ...]:
    beside = {f"{label}_{kind}" for label in columns for kind in KINDS}
    return tuple(name for name in columns if name not in FIXED_COLUMNS and name not in beside)


def _labels_of_first_film(source: TableSource) -> tuple[str, ...]:
    labels: dict[str, None] = {}
    for _, _, cells_of in chunks(source, ("label",)):
        for label in cells_of("label"):
            if label in labels:
                return tuple(labels)
            labels[label] = None
    return tuple(labels)


def _float32(columns: Sequence[Floats]) -> Iterator[list[float]]:
    """Columns as rows of the float32 numbers that the decimals stand for."""
    return iter(np.array(columns, np.float32).T.tolist())
