"""Rows of embeddings as columns of a file, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cxrzero.images.radiograph import Facts
from cxrzero.maths import Float32s
from cxrzero.prediction import FACT_COLUMNS, FIXED_COLUMNS, FIXED_TYPES, Cell, Prediction

STATUSES = frozenset({"ok", "failed", "skipped"})


def without_scores(row: Prediction) -> Prediction:
    """The row of a film that nothing was asked of."""
    return Prediction(row.path, (), row.status, row.frame, row.facts, row.flags, row.error, code=row.code)


def columns_of(rows: Sequence[Prediction]) -> dict[str, list[Cell]]:
    """The fixed columns of the prediction table."""
    cells = [row.fixed() for row in rows]
    return {name: [row[place] for row in cells] for place, name in enumerate(FIXED_COLUMNS)}


def rows_of(columns: Mapping[str, Sequence[Any]]) -> Iterator[Prediction]:
    """Rows of fixed columns.

    Raises:
        ValueError: a cell is not of its column's type, or no status.
    """
    for cells in zip(*(columns[name] for name in FIXED_COLUMNS), strict=True):
        cell = dict(zip(FIXED_COLUMNS, cells, strict=True))
        wrong = [name for name, kind in FIXED_TYPES.items() if not isinstance(cell[name], kind) and name != "frame"]
        if wrong or not isinstance(cell["frame"], int | None) or cell["status"] not in STATUSES:
            raise ValueError(f"a cell of its column {(wrong or ['frame or status'])[0]} is not what that has")
        yield Prediction(
            cell["path"],
            (),
            cell["status"],
            cell["frame"],
            Facts(*(cell[name] for name in FACT_COLUMNS)),
            frozenset(filter(None, cell["flags"].split(";"))),
            cell["error"],
            code=cell["error"].partition(":")[0],
        )


def check_block(rows: Iterable[Prediction], image_embeds: Float32s, embed_dim: int) -> None:
    """Raises ValueError: there is not one finite embedding of `embed_dim` numbers for each row that is "ok"."""
    n = sum(row.status == "ok" for row in rows)
    if image_embeds.shape != (n, embed_dim) or not np.isfinite(image_embeds).all():
        raise ValueError(f"its {n} films do not have {embed_dim} finite numbers each")
