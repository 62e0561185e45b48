"""Reference labels: what a column, or a word in a list of findings, says of an image.

Conventions:

* columns — one column per finding with 0 and 1 (also true/false, yes/no).
* chexpert — the same, where −1 is "uncertain" and a blank means "not mentioned".
* list — one column that lists findings: `Finding Labels` of NIH ChestX-ray14 (separated by |), `Labels` of PadChest (a
  bracketed list), or any column named by the user.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrzero.choices import Blank, Uncertain
from cxrzero.errors import ConfigError
from cxrzero.maths import Floats, Ints
from cxrzero.tables.names import fold, some_of
from cxrzero.tables.read import MISSING
from cxrzero.tables.synonyms import finding_of

LIST_COLUMNS = frozenset({"findinglabels", "labels"})  # NIH, PadChest; compared as `fold` gives them
YES = frozenset({"1", "1.0", "1,0", "true", "yes"})
NO = frozenset({"0", "0.0", "0,0", "false", "no"})
UNCERTAIN = frozenset({"-1", "-1.0", "-1,0"})

_LIST_ITEM = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^,\[\]'\"]+)")


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How the label table is to be read.

    Attributes:
        mapping: predicted label → names in the label table, any of which makes it positive; for names that differ.
        list_column: the column that lists findings; None recognises NIH's and PadChest's.
        uncertain: what −1 is taken for; "ignore" leaves the row out for that label.
        blank: what an empty cell is taken for; "auto" is "negative" in a column that has −1 or never says 0.
    """

    mapping: Mapping[str, Sequence[str]] | None = None
    list_column: str | None = None
    uncertain: Uncertain = "ignore"
    blank: Blank = "auto"


@dataclass(frozen=True, slots=True)
class Truth:
    """Reference values of one label: (n,) float64, 1, 0 or NaN for unknown, and how many cells were what."""

    values: Floats
    n_uncertain: int
    n_blank: int
    blank_means: str


def find_list_column(columns: Sequence[str], rules: LabelRules) -> str | None:
    """The column that lists findings, if the table is of that kind.

    Raises:
        ConfigError: the column named by the user does not exist.
    """
    if rules.list_column is not None:
        if rules.list_column not in columns:
            raise ConfigError(f"the label table has no column {rules.list_column!r}; it has: {some_of(columns)}")
        return rules.list_column
    return next((name for name in columns if fold(name) in LIST_COLUMNS), None)


def split_findings(cell: str) -> tuple[str, ...]:
    """The findings of one cell: "Mass|Nodule", "['mass', 'nodule']" or one name.

    A comma stands between findings where all its parts are known ones ("Edema, Mass"), else in a name ("mass, left").
    """
    cell = cell.strip()
    if cell.startswith("["):
        items: Iterable[str] = ("".join(groups) for groups in _LIST_ITEM.findall(cell))
    else:
        items = re.split(r"[|;]", cell)
        if len(parts := cell.split(",")) > 1 and all(map(finding_of, parts)):
            items = parts
    return tuple(item for item in (item.strip() for item in items) if item)


def listed_truth(cells: Sequence[str], names: Mapping[str, Sequence[str]], rules: LabelRules) -> dict[str, Truth]:
    """Reference values from a column that lists findings. A blank cell is unknown unless rules.blank is "negative"."""
    wanted = {label: {fold(name) for name in sources} for label, sources in names.items()}
    known: dict[str, frozenset[str]] = {}
    for cell in cells:
        if cell not in known:
            known[cell] = frozenset(fold(name) for name in split_findings(cell))
    blank_value = 0.0 if rules.blank == "negative" else np.nan
    blank = {cell: cell.strip().lower() in MISSING or not found for cell, found in known.items()}
    n_blank = sum(blank[cell] for cell in cells)
    truths = {}
    for label, accepted in wanted.items():
        code = {cell: blank_value if blank[cell] else float(bool(found & accepted)) for cell, found in known.items()}
        values = np.array([code[cell] for cell in cells])
        truths[label] = Truth(values, 0, n_blank, "negative" if blank_value == 0 else "ignore")
    return truths


def column_truth(columns: Sequence[Sequence[str]], names: Sequence[str], rules: LabelRules, path: Path) -> Truth:
    """Reference values of one label from its 0/1 columns; with several, positive where any is.

    Raises:
        ConfigError: a cell is none of 0, 1, −1 and blank.
    """
    parts = [_codes(cells, name, rules, path) for cells, name in zip(columns, names, strict=True)]
    if len(parts) == 1:
        return parts[0]
    stacked = np.stack([part.values for part in parts])
    any_positive, any_unknown = np.any(stacked == 1, axis=0), np.any(np.isnan(stacked), axis=0)
    values = np.where(any_positive, 1.0, np.where(any_unknown, np.nan, 0.0))
    blank_means = " / ".join(sorted({part.blank_means for part in parts}))
    return Truth(values, sum(p.n_uncertain for p in parts), sum(p.n_blank for p in parts), blank_means)


def share_positive(values: Floats, target: Ints, n: int) -> Floats:
    """(n,) share of the (r,) values with the same target that are 1, of those that are known; NaN where none is."""
    known = ~np.isnan(values)
    count = np.bincount(target[known], minlength=n)
    positive = np.bincount(target[known], weights=values[known], minlength=n)
    share: Floats = np.divide(positive, count, out=np.full(n, np.nan), where=count > 0)
    return share


def no_label_column(cells: Sequence[str]) -> str | None:
    """Why a column is none of labels, which has nothing but 0, 1, −1 and blanks, and at least one 1; None if it is.

    The reason quotes no cell: what a column that nobody named holds may be anything.
    """
    kinds = {cell: _kind(cell) for cell in dict.fromkeys(cells)}
    wrong = _first_wrong(cells, kinds)
    if wrong is not None:
        return f"data row {wrong + 1} is no label"
    return None if "yes" in kinds.values() else "no cell is 1"


def are_labels(cells: Iterable[str]) -> bool:
    """Whether cells have nothing but 0, 1, −1 and blanks."""
    return all(_kind(cell) != "wrong" for cell in set(cells))


def is_positive(cell: str) -> bool:
    """Whether a cell says yes."""
    return _kind(cell) == "yes"


def vocabulary(cells: Iterable[str]) -> tuple[str, ...]:
    """All findings named in a list column, in order of first appearance."""
    return tuple(dict.fromkeys(name for cell in dict.fromkeys(cells) for name in split_findings(cell)))


def _codes(cells: Sequence[str], name: str, rules: LabelRules, path: Path) -> Truth:
    kinds = {cell: _kind(cell) for cell in dict.fromkeys(cells)}
    if (wrong := _first_wrong(cells, kinds)) is not None:
        raise ConfigError(
            f"{path}: label column {name!r}, data row {wrong + 1}: {cells[wrong][:40]!r} is none of 0, 1, -1 and blank"
        )
    kind_set = set(kinds.values())
    blank = rules.blank
    if blank == "auto":
        blank = "negative" if "uncertain" in kind_set or "no" not in kind_set else "ignore"
    meaning = {"positive": 1.0, "negative": 0.0, "ignore": np.nan}
    value: Callable[[str], float] = {
        "yes": 1.0, "no": 0.0, "uncertain": meaning[rules.uncertain], "blank": meaning[blank]
    }.__getitem__  # fmt: skip
    code = {cell: value(kind) for cell, kind in kinds.items()}
    n = {kind: sum(kinds[cell] == kind for cell in cells) for kind in ("uncertain", "blank") if kind in kind_set}
    return Truth(np.array([code[cell] for cell in cells]), n.get("uncertain", 0), n.get("blank", 0), blank)


def _first_wrong(cells: Sequence[str], kinds: Mapping[str, str]) -> int | None:
    """The row, from 0, of the first cell that is no label."""
    wrong = next((cell for cell, kind in kinds.items() if kind == "wrong"), None)
    return None if wrong is None else cells.index(wrong)


def _kind(cell: str) -> str:
    word = cell.strip().lower()
    for kind, words in (("yes", YES), ("no", NO), ("uncertain", UNCERTAIN), ("blank", MISSING)):
        if word in words:
            return kind
    return "wrong"
