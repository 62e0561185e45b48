"""One row of the prediction table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cxrzero.images.radiograph import Facts

FACT_COLUMNS = tuple(Facts().as_dict())
FIXED_COLUMNS = ("path", "frame", *FACT_COLUMNS, "status", "flags", "error")

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Prediction(Mapping[str, Cell]):
    """What became of one image: also a mapping from column name to value, so `pandas.DataFrame(rows)` works.

    Attributes:
        path: as found under the argument given.
        frame: 1-based; None when the file could not be opened far enough to have frames.
        status: "ok" scored, "failed" could not be read, "skipped" readable but not scored.
        error: `code: message` for failed and skipped rows, else empty.
        scores: label → probability (float32 precision); empty unless status is "ok".
        labels: all labels asked, the table's columns in order.
    """

    path: str
    labels: tuple[str, ...]
    status: str
    frame: int | None = None
    facts: Facts = field(default_factory=Facts)
    flags: frozenset[str] = frozenset()
    error: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, column: str) -> Cell:
        if column in self.labels:
            return self.scores.get(column)
        if column in FACT_COLUMNS:
            return str(getattr(self.facts, column))
        if column == "flags":
            return ";".join(sorted(self.flags))
        if column == "path":
            return printable_path(self.path)
        if column in FIXED_COLUMNS:
            value: Cell = getattr(self, column)
            return value
        raise KeyError(column)

    def __iter__(self) -> Iterator[str]:
        yield from FIXED_COLUMNS
        yield from self.labels

    def __len__(self) -> int:
        return len(FIXED_COLUMNS) + len(self.labels)


def printable_path(path: str) -> str:
    r"""A path as text: bytes that are not UTF-8 (Unix allows them in names) are written as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
