"""A reader's verdicts on films, in the table that a page exports.

Its columns: path, frame, the UIDs, one for each label (1, 0, −1 for unsure, blank for not judged), comment, reviewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, UsageError
from cxrzero.files import FORMULA_STARTS
from cxrzero.tables.labels import NO, UNCERTAIN, YES
from cxrzero.tables.names import REVIEW_NAMES, fold
from cxrzero.tables.read import MISSING, chunks, number, open_table
from cxrzero.worklist.table import UIDS

COMMENT, REVIEWER = REVIEW_NAMES
NOT_LABELS = ("path", "frame", *UIDS, COMMENT, REVIEWER)
NEEDED = ("path", COMMENT, REVIEWER)
# What a cell says: the finding is there, it is not, the reader is unsure.
VERDICTS = (1, 0, -1)

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Review:
    """What a reader said of one film.

    Attributes:
        verdicts: label → 1, 0 or −1; a label that was not judged is not among them.
    """

    verdicts: Mapping[str, int]
    comment: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Reviews:
    """The reviews of a file that are of films shown.

    Attributes:
        by_place: place of a film in the list → its review.
        elsewhere: how many reviews are of films that are not shown.
        unknown: labels of the file that the table does not have.
    """

    by_place: Mapping[int, Review] = field(default_factory=dict)
    elsewhere: int = 0
    unknown: tuple[str, ...] = ()


def key_of(path: str, frame: int | None) -> Key:
    """What a review and a film have in common."""
    return _plain(path), frame or 1


def read_reviews(path: Path, keys: Mapping[Key, int], labels: Sequence[str]) -> Reviews:
    """Read what a page exported; of two reviews of a film, the later one counts.

    Args:
        keys: `key_of` the films shown → place.
        labels: of the table.

    Raises:
        NoInputError, ConfigError: it is no table of reviews, or has a cell that is no verdict.
        UsageError: none of its films is shown: it belongs to another table.
    """
    source = open_table(path)
    missing = [name for name in NEEDED if name not in source.columns]
    if missing:
        raise ConfigError(f"{path}: no table of reviews, which has a column {missing[0]!r}; export one from a worklist")
    own = {fold(label): label for label in labels}
    columns = [name for name in source.columns if name not in NOT_LABELS]
    known = {name: own[fold(_plain(name))] for name in columns if fold(_plain(name)) in own}
    found: dict[int, Review] = {}
    rows = 0
    for first, count, cells_of in chunks(source, [n for n in source.columns if n in known or n in NOT_LABELS]):
        frames = cells_of("frame") if "frame" in source.columns else [""] * count
        by_label = {label: cells_of(name) for name, label in known.items()}
        texts = zip(cells_of("path"), frames, cells_of(COMMENT), cells_of(REVIEWER), strict=True)
        for row, (cell, frame, comment, reviewer) in enumerate(texts):
            rows += 1
            place = keys.get(key_of(cell, _frame(frame)))
            if place is None:
                continue
            verdicts = {}
            for label, cells in by_label.items():
                if (verdict := _verdict(cells[row], path, label, first + row + 1)) is not None:
                    verdicts[label] = verdict
            found[place] = Review(verdicts, _plain(comment), _plain(reviewer))
    if not found:
        raise UsageError(
            f"{path}: none of its {rows:,} reviews is of a film shown here; it belongs to another table, or to other "
            "films of this one (see --top)"
        )
    return Reviews(found, rows - len(found), tuple(name for name in columns if name not in known))


def _verdict(cell: str, path: Path, label: str, row: int) -> int | None:
    word = cell.strip().lower()
    if word in MISSING:
        return None
    for verdict, words in zip(VERDICTS, (YES, NO, UNCERTAIN), strict=True):
        if word in words:
            return verdict
    raise ConfigError(f"{path}: column {label!r}, data row {row}: {cell[:40]!r} is none of 1, 0, -1 and blank")


def _frame(cell: str) -> int:
    try:
        value = number(cell)
    except ValueError:
        return 0
    return 1 if np.isnan(value) else int(value)


def _plain(text: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from running a text."""
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULA_STARTS else text
