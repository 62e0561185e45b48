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
    column_truth,
    find_list_column,
    listed_truth,
    no_label_column,
    vocabulary,
)
from cxrzero.tables.names import (
    PATH_NAMES,
    PATIENT_NAMES,
    STUDY_NAMES,
    find_column,
    fold,
    identifier_columns,
    some_of,
)
from cxrzero.tables.read import Columns, TableSource, open_table, read_table

SPLIT_NAMES = ("split", "fold")  # columns of numbers, often, that are no finding


class LabelTable:
    """A table of reference labels: with a column for each finding, or one that lists them.

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
        self._source, self._rules, self._text = source, rules, text
        self._list = find_list_column(source.columns, rules)
        if self._list is None:
            self.names = tuple(name for name in source.columns if name not in apart)
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
        labels: L of them, named as in the table.
        truth: (N, L) float64: 1, 0, or NaN where it is not known.
        units: (N,) int64: rows of one patient (or study, or image) share a number.
        left_out: columns that are neither labels nor known otherwise, or that nothing can be measured on, each with
            the reason.
        from_cells: the labels are words of a column that lists findings, not headings.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    truth: Floats
    units: Ints
    left_out: Mapping[str, str]
    from_cells: bool = False

    def only(self, keep: Sequence[int], why: str) -> Labelled:
        """The same images with some of the labels, by their places, and why the others are left out."""
        labels = tuple(self.labels[place] for place in keep)
        left_out = {**self.left_out, **{label: why for label in self.labels if label not in labels}}
        return replace(self, labels=labels, truth=self.truth[:, list(keep)], left_out=left_out)

    def notice(self) -> str | None:
        """What is left out, in words; None if nothing is."""
        columns = [f"{name} ({why})" for name, why in self.left_out.items()]
        return f"columns not taken as labels: {some_of(columns, 6)}" if columns else None


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
    found, left_out = table.findings() if labels is None else (_named(labels, table.names, path), {})
    if not found:
        reasons = "; ".join(f"column {name!r}: {why}" for name, why in left_out.items())
        raise LabelError(f"{path}: no column holds labels: 0, 1, -1 and blank{f' ({reasons})' if reasons else ''}")
    columns, truth = table.read({label: (label,) for label in found})
    names = columns.text[image]
    if "" in names:
        raise ConfigError(f"{path}: data row {names.index('') + 1} has no {image!r}")
    together = names if unit is None else [cell or name for cell, name in zip(columns.text[unit], names, strict=True)]
    units = np.unique(together, return_inverse=True)[1].astype(np.int64)
    values = np.column_stack([truth[label].values for label in found])
    return Labelled(tuple(images / name for name in names), found, values, units, left_out, table.lists_findings)


def _named(labels: Sequence[str], names: Sequence[str], path: Path) -> tuple[str, ...]:
    """The table's names for labels in the user's spelling."""
    found = []
    for label in labels:
        name = label if label in names else next((name for name in names if fold(name) == fold(label)), None)
        if name is None:
            raise LabelError(f"{path} has no column {label!r}; its labels: {some_of(names)}")
        found.append(name)
    return tuple(dict.fromkeys(found))
