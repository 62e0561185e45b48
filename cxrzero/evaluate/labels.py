"""Reference labels: which column or word means which finding, and what a cell says.

Conventions:

* columns — one column per finding with 0 and 1 (also true/false, yes/no).
* chexpert — the same, where −1 is "uncertain" and a blank means "not mentioned".
* list — one column that lists findings: `Finding Labels` of NIH ChestX-ray14 (separated by |), `Labels` of PadChest (a
  bracketed list), or any column named by the user.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrzero.choices import Blank, Uncertain
from cxrzero.errors import ConfigError, LabelError
from cxrzero.stats.metrics import Floats
from cxrzero.tables.read import MISSING

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
class LabelMatch:
    """Which predicted label is which reference label.

    Attributes:
        names: predicted label → names in the label table.
        only_predicted: predicted labels without reference, each with the nearest reference name or "".
        only_reference: reference names that nothing was predicted for.
    """

    names: dict[str, tuple[str, ...]]
    only_predicted: dict[str, str]
    only_reference: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """Reference values of one label: (n,) float64, 1, 0 or NaN for unknown, and how many cells were what."""

    values: Floats
    n_uncertain: int
    n_blank: int
    blank_means: str


def fold(name: str) -> str:
    """A name without case, accents' encoding, spaces and punctuation: Pleural_Thickening = "pleural thickening"."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def match_labels(predicted: Sequence[str], reference: Sequence[str], rules: LabelRules) -> LabelMatch:
    """Find each predicted label among the reference names.

    Raises:
        LabelError: a name fits two, the explicit map names something that does not exist, or nothing fits at all.
    """
    folded: dict[str, list[str]] = {}
    for name in reference:
        folded.setdefault(fold(name), []).append(name)
    mapping = {label: tuple(sources) for label, sources in (rules.mapping or {}).items()}
    _check_mapping(mapping, predicted, reference)
    names: dict[str, tuple[str, ...]] = {}
    missing: dict[str, str] = {}
    for label in predicted:
        found = folded.get(fold(label), [])
        if label in mapping:
            names[label] = mapping[label]
        elif len(found) == 1:
            names[label] = (found[0],)
        elif found:
            raise LabelError(f"label {label!r} fits {' and '.join(map(repr, found))}; say which with --map")
        else:
            nearest = difflib.get_close_matches(fold(label), folded, n=1)
            missing[label] = folded[nearest[0]][0] if nearest else ""
    _check_not_twice(names)
    if not names:
        raise LabelError(
            f"no predicted label ({_some(predicted)}) is in the label table ({_some(reference)}); "
            "name pairs with --map 'predicted label=reference label'"
        )
    used = {name for sources in names.values() for name in sources}
    return LabelMatch(names, missing, tuple(name for name in reference if name not in used))


def fitting_rules(rules: LabelRules, predicted: Sequence[str], reference: Sequence[str]) -> LabelRules:
    """The rules with only those explicit maps that fit these tables, under these tables' names."""
    column = {fold(name): name for name in predicted}
    mapping = {
        column[fold(label)]: sources
        for label, sources in (rules.mapping or {}).items()
        if fold(label) in column and all(name in reference for name in sources)
    }
    return replace(rules, mapping=mapping)


def find_list_column(columns: Sequence[str], rules: LabelRules) -> str | None:
    """The column that lists findings, if the table is of that kind.

    Raises:
        ConfigError: the column named by the user does not exist.
    """
    if rules.list_column is not None:
        if rules.list_column not in columns:
            raise ConfigError(f"the label table has no column {rules.list_column!r}; it has: {_some(columns)}")
        return rules.list_column
    return next((name for name in columns if fold(name) in LIST_COLUMNS), None)


def split_findings(cell: str) -> tuple[str, ...]:
    """The findings of one cell: "Mass|Nodule", "['mass', 'nodule']" or one name."""
    cell = cell.strip()
    if cell.startswith("["):
        items: Iterable[str] = ("".join(groups) for groups in _LIST_ITEM.findall(cell))
    else:
        items = re.split(r"[|;]", cell)
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


def is_label_column(cells: Iterable[str]) -> bool:
    """Whether a column holds nothing but 0, 1, −1 and blanks, and at least one 1."""
    kinds = {_kind(cell) for cell in dict.fromkeys(cells)}
    return "yes" in kinds and "wrong" not in kinds


def vocabulary(cells: Iterable[str]) -> tuple[str, ...]:
    """All findings named in a list column, in order of first appearance."""
    return tuple(dict.fromkeys(name for cell in dict.fromkeys(cells) for name in split_findings(cell)))


def parse_mapping(items: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read `--map "predicted=reference|another"` items.

    Raises:
        ConfigError: an item has no "=" or an empty side.
    """
    mapping = {}
    for item in items:
        label, equals, sources = item.partition("=")
        names = tuple(name.strip() for name in sources.split("|") if name.strip())
        if not equals or not label.strip() or not names:
            raise ConfigError(f"--map {item!r}: write 'predicted label=reference label', several joined by |")
        mapping[label.strip()] = names
    return mapping


def _codes(cells: Sequence[str], name: str, rules: LabelRules, path: Path) -> Truth:
    kinds = {cell: _kind(cell) for cell in dict.fromkeys(cells)}
    wrong = next((cell for cell, kind in kinds.items() if kind == "wrong"), None)
    if wrong is not None:
        row = next(index for index, cell in enumerate(cells) if cell == wrong) + 1
        raise ConfigError(
            f"{path}: label column {name!r}, data row {row}: {wrong[:40]!r} is none of 0, 1, -1 and blank"
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


def _kind(cell: str) -> str:
    word = cell.strip().lower()
    for kind, words in (("yes", YES), ("no", NO), ("uncertain", UNCERTAIN), ("blank", MISSING)):
        if word in words:
            return kind
    return "wrong"


def _check_mapping(mapping: Mapping[str, Sequence[str]], predicted: Sequence[str], reference: Sequence[str]) -> None:
    for label, sources in mapping.items():
        if label not in predicted:
            raise LabelError(f"--map: {label!r} is not a predicted label; these are: {_some(predicted)}")
        absent = [name for name in sources if name not in reference]
        if absent:
            raise LabelError(f"--map: the label table has no {absent[0]!r}; it has: {_some(reference)}")


def _check_not_twice(names: Mapping[str, Sequence[str]]) -> None:
    seen: dict[str, str] = {}
    for label in names:
        if fold(label) in seen:
            raise LabelError(f"predicted labels {seen[fold(label)]!r} and {label!r} are the same name; rename one")
        seen[fold(label)] = label


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")
