"""The same metrics within subgroups (sex, age, view …), and the largest gap between two of them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.errors import ConfigError
from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.discrimination import Intervals, LabelScores, label_influences, score_label
from cxrzero.evaluate.operating import OperatingPoint, operating_points
from cxrzero.stats.influence import Influence
from cxrzero.stats.intervals import Estimate, holm, p_value, wald
from cxrzero.stats.thresholds import Threshold
from cxrzero.tables.names import fold
from cxrzero.tables.read import MISSING

AGE_EDGES = (18, 40, 60, 80)  # children, then bands of about twenty years
AGE_BANDS = (
    f"under {AGE_EDGES[0]}",
    *(f"{low} to {high - 1}" for low, high in itertools.pairwise(AGE_EDGES)),
    f"{AGE_EDGES[-1]} and over",
)
MAX_GROUPS = 12
NOT_STATED = "not stated"

# DICOM Age String (PS3.5, section 6.2): three digits and D, W, M or Y; and plain numbers.
_AGE = re.compile(r"0*(\d{1,3})(?:[.,]\d+)?\s*([DWMY]?)", re.IGNORECASE)
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class Group:
    """One subgroup's results; `is_stated` is false for the rows whose cell says nothing."""

    name: str
    n: int
    scores: tuple[LabelScores, ...]
    points: Mapping[str, OperatingPoint]
    is_stated: bool = True


@dataclass(frozen=True, slots=True)
class Gap:
    """The two groups of a column that differ most in a label's AUROC.

    Only groups with enough rows of both classes take part. p_holm is corrected for having picked the largest of all
    pairs of groups.
    """

    label: str
    high: str
    low: str
    estimate: Estimate
    p_holm: float


@dataclass(frozen=True, slots=True)
class Subgroups:
    """One column."""

    column: str
    groups: tuple[Group, ...]
    gaps: tuple[Gap, ...]


def by_column(dataset: Dataset, column: str, thresholds: Mapping[str, Threshold], intervals: Intervals) -> Subgroups:
    """Evaluate each group of a column.

    Raises:
        ConfigError: the column has one value, or too many to be groups.
    """
    names, order = group_names(dataset.groups[column], column)
    if not 2 <= len(order) <= MAX_GROUPS:
        raise ConfigError(
            f"--by {column}: the column has {counted(len(order), 'different value')}; subgroups need 2 to {MAX_GROUPS}"
        )
    labels_of_rows = np.array(names)
    groups = []
    for name in order:
        part = dataset.subset(labels_of_rows == name)
        scores = tuple(score_label(part, label, intervals) for label in part.labels)
        enough = [each.label for each in scores if each.enough]
        points, _ = operating_points(part, thresholds, enough, intervals)
        groups.append(Group(name, len(part), scores, points, name != NOT_STATED))
    gaps = [gap for label in dataset.labels if (gap := _largest_gap(dataset, label, labels_of_rows, groups, intervals))]
    return Subgroups(column, tuple(groups), tuple(gaps))


def group_names(cells: Sequence[str], column: str) -> tuple[list[str], list[str]]:
    """The group of each cell: age bands for a column of ages, else the cell itself; and the groups in their order."""
    if "age" in re.split(r"[\W_]+", column.casefold()) or fold(column) in ("age", "patientage"):
        names = [age_band(cell) for cell in cells]
        order = [band for band in AGE_BANDS if band in names]
    else:
        names = [NOT_STATED if cell.strip().lower() in {*MISSING, NOT_STATED} else cell.strip() for cell in cells]
        order = sorted({*names} - {NOT_STATED}, key=_natural)
    return names, order + [NOT_STATED] * (NOT_STATED in names)


def age_band(cell: str) -> str:
    """The band of "58", "058Y" or "11M"; "not stated" for what is no age."""
    match = _AGE.fullmatch(cell.strip())
    if not match:
        return NOT_STATED
    years = int(match[1]) * _YEARS[match[2].upper()]
    return AGE_BANDS[sum(years >= edge for edge in AGE_EDGES)]


def _largest_gap(
    dataset: Dataset, label: str, group_of_row: np.ndarray, groups: Sequence[Group], intervals: Intervals
) -> Gap | None:
    aurocs: dict[str, Influence] = {}
    for group in groups:
        result = next(each for each in group.scores if each.label == label)
        if result.enough and group.is_stated:
            rows = np.flatnonzero(group_of_row == group.name)
            part = dataset.subset(group_of_row == group.name)
            aurocs[group.name] = label_influences(part, label)[0].spread(rows, len(dataset))
    found = []
    for one, other in itertools.combinations(aurocs, 2):
        high, low = (one, other) if aurocs[one].value >= aurocs[other].value else (other, one)
        difference = aurocs[high] - aurocs[low]
        error = difference.standard_error(dataset.units)
        if error > 0:
            found.append(
                (wald(difference.value, error, intervals.confidence), p_value(difference.value / error), high, low)
            )
    if not found:
        return None
    adjusted = holm([p for _, p, _, _ in found])
    largest = max(range(len(found)), key=lambda place: found[place][0].value)
    estimate, _, high, low = found[largest]
    return Gap(label, high, low, estimate, adjusted[largest])


def _natural(name: str) -> tuple[float, bool, str]:
    """Sort a group by the first number in its name; of equal ones, "under 5" comes before "5 to 9"."""
    number = re.search(r"\d+", name)
    return (float(number[0]) if number else math.inf, name[:1].isdigit(), name)
