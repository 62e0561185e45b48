"""Predictions joined to reference labels: the arrays that everything else computes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxrzero.choices import Aggregate, AggregateLabels, LabelLevel
from cxrzero.errors import LabelError
from cxrzero.evaluate.join import JoinReport
from cxrzero.evaluate.match import LabelMatch
from cxrzero.evaluate.repeats import RepeatReport
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.tables.labels import Truth
from cxrzero.tables.names import fold

# What is independent of another of its kind.
Unit = Literal["patient", "study", "image"]


@dataclass(frozen=True, slots=True)
class JoinRules:
    """How rows are paired.

    Attributes:
        on: (prediction column, label column); None recognises the usual identifiers.
        level: "image", "study", or "auto".
        aggregate: how the images of a study become one score.
        aggregate_labels: how several rows of labels for one film become one; None where they must agree.
        patient: the column that says which rows are one patient; None recognises the usual names.
        any_score: accept scores outside [0, 1] (logits); nothing that needs probabilities is computed then.
    """

    on: tuple[str, str] | None = None
    level: LabelLevel = "auto"
    aggregate: Aggregate = "mean"
    aggregate_labels: AggregateLabels | None = None
    patient: str | None = None
    any_score: bool = False


@dataclass(frozen=True, slots=True)
class RowReport:
    """Prediction rows by fate, and what the unscored ones cost.

    Attributes:
        n_by_status: rows per status; a table without the column has all "ok".
        unscored_examples: first identifiers of joined reference rows without any score.
        n_unscored: joined reference rows without any score.
        unscored_positives: label → positives among them.
    """

    n_by_status: dict[str, int]
    n_unscored: int
    unscored_positives: dict[str, int]
    unscored_examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Films:
    """The k predictions that were joined, and which film each is of; kept where films are to be shown.

    Attributes:
        paths, frames, sops: (k,) cells of the prediction table; frames and SOP Instance UIDs may be blank.
        target: (k,) joined row of each.
        scores: label → (k,) of each, NaN where there is none.
    """

    paths: Sequence[str]
    frames: Sequence[str]
    sops: Sequence[str]
    target: Ints
    scores: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Dataset:
    """n joined rows (images or studies).

    Attributes:
        labels: predicted labels that have reference values, in the table's order.
        scores: label → (n,) float64, NaN where there is no score.
        truth: label → Truth with (n,) values.
        cosines: label → (cos_pos, cos_neg), each (n,), where the table has them.
        aggregate: how several predictions of one row became a score.
        units: (n,) number of the patient, study or image (`unit`) that a row belongs to.
        unit_column: where that is stated; None where it is the row itself.
        groups: column → (n,) text, of the columns asked for.
        reference_rows: (n,) row of the label table, for aligning several prediction tables.
        probabilities: whether all scores lie in [0, 1].
        films: see `Films`; None where nobody asks for it, and of a subset.
    """

    path: Path
    labels: tuple[str, ...]
    scores: dict[str, Floats]
    truth: dict[str, Truth]
    cosines: dict[str, tuple[Floats, Floats]]
    units: Ints
    unit: Unit
    unit_column: str | None
    unit_keys: list[str]
    groups: dict[str, list[str]]
    reference_rows: Ints
    match: LabelMatch
    join: JoinReport
    rows: RowReport
    repeats: RepeatReport
    aggregate: Aggregate
    probabilities: bool
    notes: tuple[str, ...] = ()
    manifest: dict[str, Any] | None = field(default=None, repr=False)
    films: Films | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def unit_name(self) -> str:
        """The independent unit, in words for the user."""
        return self.unit if self.unit_column is None else f"{self.unit} ({self.unit_column})"

    @property
    def average_name(self) -> str:
        """What the average over labels is called in results: "macro", unless a label is."""
        name = "macro"
        while name in self.labels:
            name += " average"
        return name

    def usable(self, label: str) -> Bools:
        """(n,) bool: the rows with both a score and a known reference value."""
        return ~np.isnan(self.scores[label]) & ~np.isnan(self.truth[label].values)

    def scores_of(self, other: Dataset, label: str) -> Floats:
        """(n,) scores of another table for the same label table, in this one's rows; NaN where it has none."""
        size = int(max(self.reference_rows.max(), other.reference_rows.max())) + 1
        lookup = np.full(size, -1, dtype=np.int64)
        lookup[other.reference_rows] = np.arange(len(other))
        places = lookup[self.reference_rows]
        return np.where(places >= 0, other.scores[label][places], np.nan)

    def named_like(self, other: Dataset) -> Dataset:
        """Rename labels as the other has them: those with the same name, or the same reference label.

        Raises:
            LabelError: the two have no label in common.
        """
        new_names: dict[str, str] = {}
        for label in self.labels:
            same_name = [o for o in other.labels if fold(o) == fold(label)]
            same_reference = [o for o in other.labels if _folded(other.match, o) == _folded(self.match, label)]
            new_name = next(iter(same_name or same_reference), None)
            if new_name is not None and new_name not in new_names.values():
                new_names[label] = new_name
        if not new_names:
            raise LabelError(f"{self.path} and {other.path} have no label in common")
        return replace(
            self,
            labels=tuple(new_names.values()),
            scores={new: self.scores[old] for old, new in new_names.items()},
            truth={new: self.truth[old] for old, new in new_names.items()},
            cosines={new: self.cosines[old] for old, new in new_names.items() if old in self.cosines},
            match=replace(
                self.match,
                names={new: self.match.names[old] for old, new in new_names.items()},
                synonyms={new: self.match.synonyms[o] for o, new in new_names.items() if o in self.match.synonyms},
            ),
        )

    def subset(self, rows: Bools) -> Dataset:
        """The rows of a (n,) bool mask; counts of cells and rows stay those of the whole."""
        places = np.flatnonzero(rows)
        return replace(
            self,
            scores={label: values[places] for label, values in self.scores.items()},
            truth={label: replace(truth, values=truth.values[places]) for label, truth in self.truth.items()},
            cosines={label: (pos[places], neg[places]) for label, (pos, neg) in self.cosines.items()},
            units=np.unique(self.units[places], return_inverse=True)[1].astype(np.int64),
            unit_keys=[self.unit_keys[place] for place in places],
            groups={name: [cells[place] for place in places] for name, cells in self.groups.items()},
            reference_rows=self.reference_rows[places],
            films=None,
        )


def _folded(match: LabelMatch, label: str) -> set[str]:
    return {fold(name) for name in match.names[label]}
