"""Several rows of labels for one film: readers, boxes, copies. What they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrzero.choices import AggregateLabels
from cxrzero.errors import ConfigError
from cxrzero.evaluate.join import Join
from cxrzero.maths import Bools, Floats
from cxrzero.tables.labels import Truth, share_positive
from cxrzero.tables.names import fold

HALF = 0.5  # the share of a film's rows from which "mean" counts as positive, and at which "majority" is undecided

# Columns that tell why, as `fold` gives them.
# fmt: off
BOX_NAMES = frozenset({
    "x", "y", "w", "h", "width", "height", "xmin", "ymin", "xmax", "ymax", "x1", "y1", "x2", "y2", "bbox", "box",
})
READER_NAMES = frozenset({
    "radid", "reader", "readerid", "readername", "rater", "raterid", "radiologist", "annotator", "annotatorid",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class RepeatReport:
    """Films with several rows of labels.

    Attributes:
        n_films: how many they are.
        how: as they were told to become one; None where that was not said, and all rows of a film agree.
        n_differing: label → films whose rows differ.
        n_ties: label → films of which half the rows say yes.
    """

    n_films: int
    how: AggregateLabels | None
    n_differing: dict[str, int] = field(default_factory=dict)
    n_ties: dict[str, int] = field(default_factory=dict)


def merge_rows(
    truth: Mapping[str, Truth], join: Join, how: AggregateLabels | None, columns: Sequence[str], path: Path
) -> tuple[dict[str, Truth], RepeatReport]:
    """Reference values of the joined films from those of the table's rows; a row that does not know says nothing.

    Args:
        truth: label → values of the rows.
        how: "any": positive where one row is; "majority": where more than half are, and unknown at a half; "mean":
            where at least half are. None: all rows of a film must agree.
        columns: of the label table, which tell why a film has several rows.

    Raises:
        ConfigError: rows differ, and nobody has said how they become one.
    """
    merged, differing, ties = {}, {}, {}
    for label, each in truth.items():
        share = share_positive(each.values[join.label_rows], join.label_target, len(join.references))
        differs = (share > 0) & (share < 1)
        if differs.any():
            if how is None:
                raise ConfigError(_differ(label, each.values, differs, join, columns, path))
            differing[label] = int(differs.sum())
            ties[label] = int((share == HALF).sum())
        merged[label] = Truth(_decided(share, how), each.n_uncertain, each.n_blank, each.blank_means)
    return merged, RepeatReport(join.report.n_repeated, how, differing, ties)


def _decided(share: Floats, how: AggregateLabels | None) -> Floats:
    if how is None:
        return share
    positive = {"any": share > 0, "majority": share > HALF, "mean": share >= HALF}[how]
    unknown = np.isnan(share) | ((share == HALF) & (how == "majority"))
    return np.where(unknown, np.nan, positive.astype(np.float64))


def _differ(label: str, values: Floats, differs: Bools, join: Join, columns: Sequence[str], path: Path) -> str:
    place = int(np.argmax(differs))
    rows = join.label_rows[join.label_target == place]
    one = next(row for row in rows if values[row] == 1)
    other = next(row for row in rows if values[row] == 0)
    first, second = sorted((int(one) + 1, int(other) + 1))
    return (
        f"{path}: {_reason(columns)}, and in {int(differs.sum()):,} of them the rows differ in {label!r}, first in "
        f"data rows {first} and {second} ({join.keys[place]}); say what they are together: --aggregate-labels any "
        "(positive where one row is), majority (a tie is left out) or mean (positive from a half on)"
    )


def _reason(columns: Sequence[str]) -> str:
    for names, what in ((READER_NAMES, "one per reader"), (BOX_NAMES, "one per box")):
        if found := [name for name in columns if fold(name) in names]:
            return f"films have several rows, {what} (column {found[0]!r})"
    return "films have several rows"
