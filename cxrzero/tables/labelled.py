"""Images and what is true of them: the one reader of labelled tables, whatever their dialect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrzero.errors import ConfigError, LabelError
from cxrzero.maths import Floats, Ints
from cxrzero.tables.labels import (
    LabelRules,
    Truth,
    are_labels,
    column_truth,
    find_list_column,
    is_positive,
    listed_truth,
    no_label_column,
    share_positive,
    vocabulary,
)
from cxrzero.tables.names import (
    FRAME_NAME,
    PATH_NAMES,
    PATIENT_NAMES,
    REVIEW_NAMES,
    STUDY_NAMES,
    find_column,
    fold,
    identifier_columns,
    is_unnamed,
    some_of,
)
from cxrzero.tables.read import Columns, TableSource, columns_that, open_table, read_table
from cxrzero.tables.synonyms import in_words, other_names, synonyms_among

LONGEST_NAME = 60  # characters of a text that may be the name of a finding
SPLIT_NAMES = ("split", "fold")  # columns of numbers, often, that are no finding


class LabelTable:
    """A table of reference labels: with a column for each finding, or one that lists them.

    In a table of reviews (it has the columns comment and reviewer) a blank is what a reader did not judge: unknown,
    unless the rules say otherwise.

    Args:
        source: the table.
        rules: how it is to be read.
        text: columns to keep beside the labels.
        apart: columns that are no findings.

    Attributes:
        names: of what may be findings, in the table's order.
    """

    def __init__(
        self, source: TableSource, rules: LabelRules, text: Sequence[str] = (), apart: Collection[str | None] = ()
    ) -> None:
        folded = set(map(fold, source.columns))
        if rules.blank == "auto" and folded.issuperset(REVIEW_NAMES):
            rules = replace(rules, blank="ignore")
        beside = {FRAME_NAME, *(REVIEW_NAMES if folded.issuperset(REVIEW_NAMES) else ())}
        apart = {*apart, *(name for name in source.columns if fold(name) in beside)}
        self._source, self._rules, self._text = source, rules, text
        self._list = find_list_column(source.columns, rules)
        if self._list is None:
            self.names = tuple(name for name in source.columns if name not in apart and not is_unnamed(name))
        else:
            self._columns = read_table(source, text=text, categories=[self._list])
            self.names = vocabulary(self._columns.text[self._list])

    @property
    def lists_findings(self) -> bool:
        return self._list is not None

    def findings(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """The names that are findings, by their cells; those that are none, each with the reason."""
        if self._list is not None:
            return self.names, {}
        cells = read_table(self._source, categories=self.names).text
        reasons = {name: no_label_column(cells[name]) for name in self.names}
        left_out = {name: reason for name, reason in reasons.items() if reason}
        return tuple(name for name in self.names if name not in left_out), left_out

    def findings_among(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are findings: in a column of its own each, with 0, 1, −1 and blanks, and one 1."""
        if self._list is not None:
            return tuple(names)
        positive: set[str] = set()

        def fits(name: str, cells: list[str]) -> bool:
            different = set(cells)
            if any(map(is_positive, different)):
                positive.add(name)
            return are_labels(different)

        return tuple(name for name in columns_that(self._source, names, fits) if name in positive)

    def read(self, wanted: Mapping[str, Sequence[str]]) -> tuple[Columns, dict[str, Truth]]:
        """The columns kept, and label → its truth.

        Args:
            wanted: label → names here, any of which makes it positive.

        Raises:
            ConfigError: a cell is no label; it is named.
        """
        if self._list is not None:
            return self._columns, listed_truth(self._columns.text[self._list], wanted, self._rules)
        names = [name for sources in wanted.values() for name in sources]
        columns = read_table(self._source, text=self._text, categories=names)
        truth = {
            label: column_truth([columns.text[name] for name in sources], sources, self._rules, self._source.path)
            for label, sources in wanted.items()
        }
        return columns, truth


@dataclass(frozen=True, slots=True)
class Labelled:
    """A table of labelled images.

    Attributes:
        paths: of N images.
        labels: L of them, named as in the table; where that is another name of the same finding, as was asked.
        truth: (N, L) float64: 1, 0, or NaN where it is not known.
        units: (N,) int64: rows of one patient (or study, or image) share a number.
        left_out: columns that are neither labels nor known otherwise, or that nothing can be measured on, each with
            the reason.
        synonyms: in words, which columns were found by another name.
        from_cells: the labels are words of a column that lists findings, not headings.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    truth: Floats
    units: Ints
    left_out: Mapping[str, str]
    synonyms: tuple[str, ...] = ()
    from_cells: bool = False

    def only(self, keep: Sequence[int], why: str) -> Labelled:
        """The same images with some of the labels, by their places, and why the others are left out."""
        labels = tuple(self.labels[place] for place in keep)
        left_out = {**self.left_out, **{label: why for label in self.labels if label not in labels}}
        return replace(self, labels=labels, truth=self.truth[:, list(keep)], left_out=left_out)

    def asked_as(self, texts: Collection[str]) -> Labelled:
        """The same with labels under the name that these texts have for the finding, where they have but another."""
        known = {fold(text) for text in texts if len(text) <= LONGEST_NAME}
        labels = list(self.labels)
        for place, label in enumerate(self.labels):
            name = next((other for other in other_names(label) if fold(other) in known), None)
            if fold(label) not in known and name is not None and name not in labels:
                labels[place] = name
        found = [in_words(new, old) for new, old in zip(labels, self.labels, strict=True) if new != old]
        return replace(self, labels=tuple(labels), synonyms=(*self.synonyms, *found))

    def notice(self) -> str | None:
        """What is left out and what was found by another name, in words; None if nothing is."""
        columns = [f"{name} ({why})" for name, why in self.left_out.items()]
        left_out = [f"columns not taken as labels: {some_of(columns, 6)}"] if columns else []
        return "; ".join([*self.synonyms, *left_out]) or None


def read_labelled(path: Path, images: Path, labels: Sequence[str] | None = None, unit: str | None = None) -> Labelled:
    """Read a table with a column that names the image, and labels in any form that `LabelTable` knows.

    Args:
        images: folder that relative image paths start from.
        labels: those wanted, in any spelling; None takes all that are there.
        unit: column that says which rows belong together; None recognises patients', else studies'. Where it is blank
            or missing, an image stands for itself.

    Raises:
        NoInputError: the file is missing or has no rows.
        ConfigError: it is no table, a column is missing, a row names no image, or a cell is wrong.
        LabelError: a label that is wanted is not there, or none is.
    """
    source = open_table(path)
    image = find_column(source.columns, PATH_NAMES)
    if image is None:
        raise ConfigError(
            f"{path}: no column names the image (image, path, Image Index, …); its columns: {some_of(source.columns)}"
        )
    if unit is not None and unit not in source.columns:
        raise ConfigError(f"{path}: no column {unit!r} for --group; its columns: {some_of(source.columns)}")
    unit = unit or find_column(source.columns, PATIENT_NAMES) or find_column(source.columns, STUDY_NAMES)
    known = {fold(column): column for column in source.columns}
    apart = {*identifier_columns(source.columns, unit), *(known.get(name) for name in (*PATIENT_NAMES, *SPLIT_NAMES))}
    table = LabelTable(source, LabelRules(), text=[image] if unit is None else [image, unit], apart=apart)
    found, left_out = table.findings() if labels is None else (tuple(labels), {})
    columns_of = {name: name for name in found} if labels is None else _named(labels, table.names, path)
    if not found:
        reasons = "; ".join(f"column {name!r}: {why}" for name, why in left_out.items())
        raise LabelError(f"{path}: no column holds labels: 0, 1, -1 and blank{f' ({reasons})' if reasons else ''}")
    columns, truth = table.read({label: (column,) for label, column in columns_of.items()})
    names = columns.text[image]
    if "" in names:
        raise ConfigError(f"{path}: data row {names.index('') + 1} has no {image!r}")
    together = names if unit is None else [cell or name for cell, name in zip(columns.text[unit], names, strict=True)]
    units = np.unique(together, return_inverse=True)[1].astype(np.int64)
    values = np.column_stack([truth[label].values for label in columns_of])
    synonyms = [in_words(label, column) for label, column in columns_of.items() if fold(label) != fold(column)]
    data = Labelled(
        paths=tuple(images / name for name in names),
        labels=tuple(columns_of),
        truth=values,
        units=units,
        left_out=left_out,
        synonyms=tuple(synonyms),
        from_cells=table.lists_findings,
    )
    return _one_row_each(data, path)


def _one_row_each(data: Labelled, path: Path) -> Labelled:
    """Keep one row for each image: rows that say the same are merged; where one does not know, the other counts.

    Raises:
        ConfigError: two rows of an image differ.
    """
    place = {image: number for number, image in enumerate(dict.fromkeys(data.paths))}
    if len(place) == len(data.paths):
        return data
    target = np.array([place[image] for image in data.paths], np.int64)
    shares = np.column_stack([share_positive(column, target, len(place)) for column in data.truth.T])
    differs = (shares > 0) & (shares < 1)
    if differs.any():
        row, column = np.argwhere(differs)[0]
        rows = np.flatnonzero(target == row) + 1
        raise ConfigError(
            f"{path}: the table names an image twice, and the rows differ: {data.labels[column]!r} in data rows "
            f"{rows[0]} to {rows[-1]}; give each image one row"
        )
    first = np.unique(target, return_index=True)[1]
    return replace(data, paths=tuple(place), truth=shares, units=data.units[first])


def _named(labels: Sequence[str], names: Sequence[str], path: Path) -> dict[str, str]:
    """Label → its column: in the user's spelling named as the column, by another name of the finding as asked."""
    found = {}
    for label in labels:
        name = label if label in names else next((name for name in names if fold(name) == fold(label)), None)
        if name is not None:
            found[name] = name
            continue
        others = synonyms_among(label, names)
        if len(others) > 1:
            raise LabelError(f"{path}: {label!r} may be {' or '.join(map(repr, others))}; name the column you mean")
        if not others:
            raise LabelError(f"{path} has no column {label!r}; its labels: {some_of(names)}")
        found[label] = others[0]
    return found
