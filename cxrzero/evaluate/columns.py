"""Which columns of a prediction table are predictions, and whether it is one at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.errors import ConfigError
from cxrzero.prediction import FIXED_COLUMNS
from cxrzero.tables.labels import LabelRules, are_labels, find_list_column
from cxrzero.tables.names import PATIENT_NAMES, fold, identifier_columns, is_unnamed
from cxrzero.tables.read import TableSource, columns_that, number
from cxrzero.tables.studies import STUDY_COLUMNS

# Columns that a prediction table has beside a label's own, by suffix.
DERIVED_SUFFIXES = ("_calibrated", "_decision", "_sd", "_cos_pos", "_cos_neg")
STUDIES_ONLY = "left_out_reasons"  # a column that the study-level table alone has


def are_swapped(predictions: TableSource, labels: TableSource) -> bool:
    """Whether what was given as predictions looks like labels, and the other way round."""
    ours = ({"path", "status"} <= set(source.columns) for source in (predictions, labels))
    lists = (find_list_column(source.columns, LabelRules()) is not None for source in (predictions, labels))
    if tuple(ours) == (False, True) or tuple(lists) == (True, False):
        return True
    shared = {fold(name) for name in labels.columns} & {fold(name) for name in prediction_labels(predictions)}
    ones, others = ([n for n in source.columns if fold(n) in shared] for source in (predictions, labels))
    are_zero_or_one = columns_that(predictions, ones, lambda _, cells: are_labels(cells))
    return bool(ones) and len(are_zero_or_one) == len(ones) and bool(scores_among(labels, others))


def scores_among(source: TableSource, names: Sequence[str], *, any_score: bool = False) -> tuple[str, ...]:
    """Columns that hold predictions: all of our own table; of others those of numbers, 0 to 1 unless `any_score`."""
    if is_ours(source):
        return tuple(names)
    stated: set[str] = set()

    def fits(name: str, cells: list[str]) -> bool:
        try:
            values = np.array([number(cell) for cell in set(cells)])
        except ValueError:
            return False
        known = values[~np.isnan(values)]
        if known.size:
            stated.add(name)
        return any_score or bool(((known >= 0) & (known <= 1)).all())

    return tuple(name for name in columns_that(source, names, fits) if name in stated)


def prediction_labels(source: TableSource) -> list[str]:
    """Columns of a prediction table that may be labels: not fixed, not an identifier, not derived from another."""
    columns, ours = set(source.columns), is_ours(source)
    fixed = {*FIXED_COLUMNS, *(STUDY_COLUMNS if STUDIES_ONLY in columns else ())}
    labels = []
    for name in source.columns:
        base = next((name.removesuffix(s) for s in DERIVED_SUFFIXES if name.endswith(s)), name)
        if name in fixed or is_unnamed(name) or (base != name and base in columns):
            continue
        if ours or (fold(name) not in PATIENT_NAMES and name not in identifier_columns(source.columns, None)):
            labels.append(name)
    return labels


def check_wide(source: TableSource) -> None:
    """Refuse a table of `predict --long`.

    Raises:
        ConfigError: it is one.
    """
    if is_ours(source) and {"label", "probability"} <= set(source.columns):
        raise ConfigError(f"{source.path}: this is a table of --long, with a row per label; predict without --long")


def is_ours(source: TableSource) -> bool:
    """Whether `predict` wrote the table, of images or of studies."""
    return {"path", "status"} <= set(source.columns) or STUDIES_ONLY in source.columns
