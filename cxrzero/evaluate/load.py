"""From two files to a Dataset: read, match labels, join rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cxrzero.choices import Aggregate
from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.columns import are_swapped, check_wide, prediction_labels, scores_among
from cxrzero.evaluate.dataset import Dataset, JoinRules, RowReport, Unit
from cxrzero.evaluate.errors import films_of
from cxrzero.evaluate.join import Join, join_rows
from cxrzero.evaluate.match import LabelMatch, fitting_rules, match_labels
from cxrzero.evaluate.repeats import merge_rows
from cxrzero.maths import Bools, Floats, Ints
from cxrzero.tables.labelled import LabelTable
from cxrzero.tables.labels import LabelRules, Truth
from cxrzero.tables.names import PATIENT_NAMES, STUDY_NAMES, fold, identifier_columns
from cxrzero.tables.read import Columns, TableSource, open_table, read_table
from cxrzero.tables.record import read_manifest


def load_dataset(
    predictions: Path,
    labels: Path,
    label_rules: LabelRules,
    join_rules: JoinRules,
    by: Sequence[str] = (),
    like: Dataset | None = None,
    *,
    films: bool = False,
) -> Dataset:
    """Read both tables, match labels, join rows.

    Args:
        by: columns of either table to keep for subgroups, matched as label names are.
        like: the main dataset, when this is a further table: its label names are used, and explicit maps that do not
            fit this table are no error.
        films: keep which film each score is of.

    Raises:
        NoInputError, ConfigError, LabelError: a table is missing, unreadable or does not fit the other.
    """
    predicted, referenced = open_table(predictions), open_table(labels)
    by_columns = [_group_column(name, predicted, referenced) for name in by]
    check_wide(predicted)
    names = prediction_labels(predicted)
    on_prediction, on_reference = join_rules.on or (None, None)
    patients = (named_column(source, join_rules.patient, PATIENT_NAMES) for source in (referenced, predicted))
    patient = next((name for name in patients if name), None)
    if join_rules.patient is not None and patient is None:
        raise ConfigError(f"neither {predictions} nor {labels} has a column {join_rules.patient!r} for --patient")

    identifiers = identifier_columns(referenced.columns, on_reference)
    if not identifiers:  # challenges name a film by its patient
        identifiers = [name for name in referenced.columns if fold(name) in PATIENT_NAMES]
    reference_text = [*identifiers, *(name for name in (*by_columns, patient) if name in referenced.columns)]
    label_table = LabelTable(referenced, label_rules, text=reference_text, apart=(*identifiers, patient))
    rules = label_rules if like is None else fitting_rules(label_rules, names, label_table.names)
    try:
        match = match_labels(names, label_table.names, rules)
        table, truth = label_table.read(match.names)
    except (ConfigError, LabelError) as error:
        if are_swapped(predicted, referenced):
            raise type(error)(f"{error}. Are predictions and labels swapped?") from None
        raise
    match = match.of_findings(
        scores_among(predicted, list(match.only_predicted), any_score=join_rules.any_score),
        label_table.findings_among(match.only_reference),
    )

    scores_table = _read_predictions(predicted, match, on_prediction, [n for n in (*by_columns, patient) if n])
    join = join_rows(
        {name: scores_table.text[name] for name in identifier_columns(predicted.columns, on_prediction)},
        {name: table.text[name] for name in identifiers},
        join_rules.on,
        join_rules.level,
        scores_table.text.get("frame"),
    )
    dataset = _joined(scores_table, table, join, match, truth, join_rules, patient, by_columns, films)
    return dataset if like is None else dataset.named_like(like)


def _read_predictions(source: TableSource, match: LabelMatch, on: str | None, others: Sequence[str]) -> Columns:
    cosines = [f"{label}{suffix}" for label in match.names for suffix in ("_cos_pos", "_cos_neg")]
    text = identifier_columns(source.columns, on)
    text += [name for name in others if name in source.columns]
    categories = [name for name in ("status", "frame") if name in source.columns and name not in text]
    return read_table(
        source, text=text, categories=categories, numbers=[*match.names, *(c for c in cosines if c in source.columns)]
    )


def _joined(
    predictions: Columns,
    references: Columns,
    join: Join,
    match: LabelMatch,
    truth: dict[str, Truth],
    rules: JoinRules,
    patient: str | None,
    by_columns: Sequence[str],
    films: bool,
) -> Dataset:
    labels = tuple(match.names)
    status = predictions.text.get("status") or ["ok"] * predictions.n_rows
    ok = np.array([state == "ok" for state in status])
    probabilities = check_range(predictions, labels, ok, any_score=rules.any_score)

    def joined(column: str) -> Floats:
        values: Floats = np.where(ok, predictions.numbers[column], np.nan)[join.predictions]
        return values

    def gather(column: str) -> Floats:
        return aggregate(joined(column), join.target, len(join.references), rules.aggregate)

    scores = {label: gather(label) for label in labels}
    cosines = {
        label: (gather(f"{label}_cos_pos"), gather(f"{label}_cos_neg"))
        for label in labels
        if f"{label}_cos_pos" in predictions.numbers and f"{label}_cos_neg" in predictions.numbers
    }
    rows = join.references
    kept, repeats = merge_rows(truth, join, rules.aggregate_labels, references.source.columns, references.source.path)
    first = np.zeros(len(rows), dtype=np.int64)
    first[join.target[::-1]] = join.predictions[::-1]  # the first prediction row of each joined row

    def text(column: str) -> list[str]:
        if column in references.text:
            return [references.text[column][row] for row in rows]
        return [predictions.text[column][row] for row in first]

    unit, unit_column, unit_keys = independent_units(
        references, predictions, patient, join.report.level, join.keys, text
    )
    return Dataset(
        path=predictions.source.path,
        labels=labels,
        scores=scores,
        truth=kept,
        cosines=cosines,
        units=numbered(unit_keys),
        unit=unit,
        unit_column=unit_column,
        unit_keys=unit_keys,
        groups={name: text(name) for name in by_columns},
        reference_rows=rows,
        match=match,
        join=join.report,
        rows=_row_report(status, scores, kept, join),
        repeats=repeats,
        aggregate=rules.aggregate,
        probabilities=probabilities,
        notes=tuple(f"{t.source.path.name}: {note}" for t in (predictions, references) for note in t.source.notes),
        manifest=read_manifest(predictions.source.path),
        films=films_of(predictions, join, {label: joined(label) for label in labels}) if films else None,
    )


def aggregate(values: Floats, target: Ints, n: int, how: Aggregate) -> Floats:
    """(n,) mean or maximum of the (k,) values that have the same target; NaN values are left out, none gives NaN."""
    known = ~np.isnan(values)
    values, target = values[known], target[known]
    if how == "max":
        highest = np.full(n, -np.inf)
        np.maximum.at(highest, target, values)
        return np.where(np.isinf(highest), np.nan, highest)
    counts = np.bincount(target, minlength=n)
    sums = np.bincount(target, weights=values, minlength=n)
    mean: Floats = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return mean


def check_range(predictions: Columns, labels: Sequence[str], ok: Bools, *, any_score: bool) -> bool:
    """Whether all scores are probabilities.

    Raises:
        ConfigError: one is infinite, or lies outside [0, 1] and the user did not say that this is meant.
    """
    probabilities = True
    for label in labels:
        values = predictions.numbers[label]
        infinite = np.isinf(values) & ok
        outside = ((values < 0) | (values > 1)) & ok
        wrong = infinite if any_score else outside
        if wrong.any():
            row = int(np.argmax(wrong))
            hint = "" if any_score else "; if these are logits, give --any-score"
            raise ConfigError(
                f"{predictions.source.path}: {int(wrong.sum())} scores of {label!r} are not within [0, 1], "
                f"the first is {values[row]:g} in data row {row + 1}{hint}"
            )
        probabilities &= not outside.any()
    return probabilities


def _row_report(status: list[str], scores: dict[str, Floats], truth: dict[str, Truth], join: Join) -> RowReport:
    unscored = np.all([np.isnan(values) for values in scores.values()], axis=0)
    return RowReport(
        n_by_status={state: status.count(state) for state in sorted(set(status))},
        n_unscored=int(unscored.sum()),
        unscored_positives={label: int(np.sum(t.values[unscored] == 1)) for label, t in truth.items()},
        unscored_examples=tuple(join.keys[row] for row in np.flatnonzero(unscored)[:5]),
    )


def independent_units(
    references: Columns,
    predictions: Columns,
    patient: str | None,
    level: str,
    keys: list[str],
    text: Callable[[str], list[str]],
) -> tuple[Unit, str | None, list[str]]:
    """The independent unit (patient, else study, else the row itself), its column, and each joined row's.

    Args:
        keys: what tells rows apart by themselves.
        text: the joined rows' cells of a column.
    """
    if patient is not None:
        return "patient", patient, text(patient)
    if level == "image":
        for table in (references, predictions):
            for name, cells in table.text.items():
                if fold(name) in STUDY_NAMES and all(cells):
                    return "study", name, text(name)
        return "image", None, keys
    return "study", None, keys


def numbered(keys: Sequence[str]) -> Ints:
    """Equal keys as equal numbers from 0 on, in order of first appearance."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def named_column(source: TableSource, name: str | None, known: Sequence[str]) -> str | None:
    if name is not None:
        return name if name in source.columns else None
    return next((column for column in source.columns if fold(column) in known), None)


def _group_column(name: str, predicted: TableSource, referenced: TableSource) -> str:
    for source in (referenced, predicted):
        exact = [column for column in source.columns if fold(column) == fold(name)]
        ending = [column for column in source.columns if fold(column) == f"patient{fold(name)}"]
        if found := exact or ending:
            return found[0]
    raise ConfigError(f"--by {name}: neither {predicted.path} nor {referenced.path} has such a column")
