"""The films that flip most: whose place in the order of a label changes most from one table to the other.

Ranks are compared and no scores, because a score of one model is not comparable with that of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrzero.choices import Notify
from cxrzero.compare.pairs import Pairs
from cxrzero.display.counts import counted
from cxrzero.display.pictures import thumbnail
from cxrzero.errors import ImageError
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.report.errorfilms import FILM_PIXELS, Shown
from cxrzero.report.findfilm import find_film, read_frame
from cxrzero.sources.reader import Reader
from cxrzero.stats.agreement import shares_below
from cxrzero.tables.changed import OTHER_FILM

NOT_FOUND = "there is no file of this name in the folder of --images"


@dataclass(frozen=True, slots=True)
class Flip:
    """One film and label.

    Attributes:
        row: of the pairs, from 0.
        path: the cell of A.
        below_a, below_b: share of the films that lie below it in each table.
        decision_a, decision_b: that the tables state; None where one has none.
    """

    label: str
    row: int
    path: str
    frame: int
    score_a: float
    score_b: float
    below_a: float
    below_b: float
    decision_a: int | None = None
    decision_b: int | None = None

    @property
    def change(self) -> float:
        """From −1 to 1; positive where it is higher in the order of B."""
        return self.below_b - self.below_a


def flips_of(pairs: Pairs, label: str, top: int) -> Iterator[Flip]:
    """At most `top` films, the largest change first; equal changes in the order of the table."""
    a, b = pairs.scores[label]
    rows = np.flatnonzero(~np.isnan(a) & ~np.isnan(b))
    below = shares_below(a[rows]), shares_below(b[rows])
    change = np.abs(below[1] - below[0])
    stated = pairs.decisions.get(label)
    for place in np.argsort(-change, kind="stable")[:top].tolist():
        if change[place] == 0:
            return
        row = int(rows[place])
        decided = [None, None] if stated is None else [_decision(float(each[row])) for each in stated]
        yield Flip(
            label=label,
            row=row,
            path=pairs.paths[row],
            frame=pairs.frames[row],
            score_a=float(a[row]),
            score_b=float(b[row]),
            below_a=float(below[0][place]),
            below_b=float(below[1][place]),
            decision_a=decided[0],
            decision_b=decided[1],
        )


def draw_flips(pairs: Pairs, flips: Sequence[Flip], root: Path, notify: Notify) -> dict[int, Shown]:
    """Read each film of the flips once; by its row, what there is to see of it."""
    record = pairs.records[0]
    options = DecodeOptions() if record is None else DecodeOptions(invert=record.decode_options.invert)
    rows = list(dict.fromkeys(flip.row for flip in flips))
    notify(f"Films that flip most: reading {counted(len(rows), 'film')}")
    reader = Reader()
    return {row: _shown(pairs, row, root, options, reader) for row in rows}


def _shown(pairs: Pairs, row: int, root: Path, options: DecodeOptions, reader: Reader) -> Shown:
    file = find_film(root, pairs.paths[row])
    if file is None:
        return Shown(fault=NOT_FOUND)
    try:
        film = read_frame(reader, file, pairs.frames[row], options)
    except ImageError as error:
        return Shown(file, fault=error.message)
    sop = pairs.sops[row]
    if sop and film.facts.sop_instance_uid != sop:
        return Shown(file, fault=OTHER_FILM)
    assert film.picture is not None, "it was asked for"
    return Shown(file, thumbnail(film.picture, FILM_PIXELS))


def _decision(value: float) -> int | None:
    return None if np.isnan(value) else int(value)
