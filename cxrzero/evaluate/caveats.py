"""What the reader of an evaluation must be told: what was left out, what was assumed, what is optimistic."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxrzero.calibration.file import Calibration
from cxrzero.display.counts import counted, plural, together
from cxrzero.evaluate.dataset import Dataset
from cxrzero.evaluate.discrimination import LabelScores
from cxrzero.evaluate.join import JoinReport
from cxrzero.evaluate.options import EvalOptions
from cxrzero.tables.names import some_of
from cxrzero.tables.studies import MOST_IMAGES

# What shells read within double quotes.
SHELLS_OWN = '"$`\\!'
MAPS = 3  # options that are written out
# How rows of labels became one, after "they are positive where".
TOGETHER = {
    "any": "one row is",
    "majority": "more than half of the rows are, and left out where it is half",
    "mean": "at least half of the rows are",
}


@dataclass(frozen=True, slots=True)
class Caveat:
    """What the reader must be told, in plain sentences; a loud one must not be missed."""

    text: str
    is_loud: bool = False


def caveats(
    options: EvalOptions,
    dataset: Dataset,
    scores: Sequence[LabelScores],
    calibration: Calibration | None,
    validation: Dataset | None,
    shared: Sequence[str],
    others: Mapping[str, Dataset],
) -> list[Caveat]:
    """All of them, the loud ones first.

    Args:
        shared: units that occur in both the validation and the test table.
        others: readers' tables and those compared with, by name.
    """
    found = [
        *_of_options(options),
        *_of_labels(dataset),
        *_of_join(dataset),
        *_of_calibration(options, dataset, calibration, validation, shared),
        *_of_repeats(dataset),
        *_of_others(dataset, others),
        *_of_scores(dataset, scores),
    ]
    return sorted(found, key=lambda each: not each.is_loud)


def map_option(label: str, column: str) -> str:
    """What to type so that a column is taken for a label."""
    pair = f"{label}={column}"
    quoted = shlex.quote(pair) if set(pair) & set(SHELLS_OWN) else f'"{pair}"'
    return f"--map {quoted}"


def _of_options(options: EvalOptions) -> Iterator[Caveat]:
    if options.in_sample:
        yield Caveat(
            "IN SAMPLE: thresholds and calibration were chosen on the same table that they are tested on. Numbers at a "
            "threshold and calibrated numbers are better than new films would give; do not report them as performance.",
            is_loud=True,
        )


def _of_labels(dataset: Dataset) -> Iterator[Caveat]:
    match = dataset.match
    for label, near in match.only_predicted.items():
        if near:
            yield Caveat(
                f"NOT EVALUATED: {label!r} is predicted, and the label table has no column of that name. If {near!r} "
                f"is the same finding, give {map_option(label, near)}.",
                is_loud=True,
            )
    absent = [label for label, near in match.only_predicted.items() if not near]
    if absent:
        yield Caveat(
            f"NOT EVALUATED: {together(absent)}. The label table has no column of that name, nor one with another name "
            f"of the same finding. Where one of its columns is meant, give "
            f"{together([map_option(label, 'COLUMN') for label in absent[:MAPS]])}.",
            is_loud=True,
        )
    for name, label in match.unused.items():
        yield Caveat(f"{name!r} in the labels means {label!r} too, which has a column of its own; it was not used.")
    if match.only_reference:
        yield Caveat(f"The label table has findings that were not predicted: {some_of(match.only_reference, 30)}.")


def _of_strangers(report: JoinReport) -> Iterator[Caveat]:
    """Studies that are probably not one: loose files of a folder, or a UID that was given twice."""
    if n := report.n_crowded:
        yield Caveat(
            f"{counted(n, 'study has', 'studies have')} more than {MOST_IMAGES} images, more than a study of the chest "
            "has: films of several patients may have been joined. Give each study a folder of its own, or evaluate "
            "labels of images.",
            is_loud=True,
        )
    if n := report.n_mixed:
        yield Caveat(
            f"{counted(n, 'row of labels was', 'rows of labels were')} joined with images of different Study Instance "
            "UIDs. Join by that UID, or give each study a folder of its own.",
            is_loud=True,
        )


def _of_join(dataset: Dataset) -> Iterator[Caveat]:
    report = dataset.join
    for kind, where in (("only_references", "labels"), ("only_predictions", "predictions")):
        if n := getattr(report, f"n_{kind}"):
            rows = counted(n, f"row is in the {where} only and was", f"rows are in the {where} only and were")
            yield Caveat(f"{rows} not evaluated.", is_loud=where == "labels")
    for hint in report.hints:
        yield Caveat(f"Some rows were not joined: {hint}.", is_loud=True)
    for kind, where in (("duplicate_predictions", "predictions"), ("duplicate_references", "labels")):
        if n := getattr(report, f"n_{kind}"):
            identifiers = counted(n, "identifier occurs", "identifiers occur")
            yield Caveat(
                f"{identifiers} more than once in the {where}; no row with {'it' if n == 1 else 'them'} was evaluated.",
                is_loud=True,
            )
    how = dataset.aggregate
    if report.n_several and report.level == "study":
        yield Caveat(
            f"Labels are per study, and {counted(report.n_several, 'study has', 'studies have')} several images: the "
            f"{how} over the scored images of a study was evaluated."
        )
        yield from _of_strangers(report)
    elif report.n_several:
        yield Caveat(
            f"{counted(report.n_several, 'film has', 'films have')} several frames: the {how} over the scored "
            "frames of a film was evaluated."
        )
    if n := dataset.rows.n_unscored:
        rows = counted(n, "labelled row has", "labelled rows have")
        yield Caveat(
            f"{rows} no score (failed or skipped images, or blank cells) and {'is' if n == 1 else 'are'} in no metric; "
            "if they differ from the others, the metrics are biased."
        )


def _of_calibration(
    options: EvalOptions,
    dataset: Dataset,
    calibration: Calibration | None,
    validation: Dataset | None,
    shared: Sequence[str],
) -> Iterator[Caveat]:
    if shared:
        units = counted(len(shared), f"{dataset.unit} occurs", f"{plural(dataset.unit)} occur")
        yield Caveat(
            f"{units} in both the validation and the test table: thresholds and calibration have seen what they are "
            "tested on."
        )
    if validation is not None and dataset.unit_name != validation.unit_name:
        yield Caveat(
            "Whether the validation and the test table overlap could not be checked: the unit of the test table is "
            f"{dataset.unit_name}, that of the validation table {validation.unit_name}."
        )
    if calibration is None:
        return
    without = [label for label in dataset.labels if label not in calibration.labels]
    if without:
        where = "validation table has no labels" if validation is not None else "calibration has nothing"
        yield Caveat(f"The {where} for {together(without)}, so no threshold was chosen.", is_loud=True)
    if validation is None and not options.in_sample and calibration.in_sample:
        yield Caveat("The calibration file was fitted in sample: it is not evidence of performance on its own table.")
    if options.calibration and None in (calibration.binding, dataset.manifest):
        yield Caveat("Nothing says whether the calibration was fitted for the model of these predictions.")


def _of_repeats(dataset: Dataset) -> Iterator[Caveat]:
    repeats = dataset.repeats
    if not repeats.n_films:
        return
    nouns = ("study", "studies") if dataset.join.level == "study" else ("film", "films")
    films = counted(repeats.n_films, f"{nouns[0]} has", f"{nouns[1]} have")
    if not repeats.n_differing or repeats.how is None:
        yield Caveat(f"{films} several rows of labels, which agree and count once.")
        return
    counts = ", ".join(f"{label} {n:,}" for label, n in repeats.n_differing.items())
    ties = ", ".join(f"{label} {n:,}" for label, n in repeats.n_ties.items() if n)
    yield Caveat(
        f"{films} several rows of labels. Where they differ ({counts}), the {nouns[0]} is positive where "
        f"{TOGETHER[repeats.how]} (--aggregate-labels {repeats.how}{'; ties: ' + ties if ties else ''})."
    )


def _of_others(dataset: Dataset, others: Mapping[str, Dataset]) -> Iterator[Caveat]:
    for name, other in others.items():
        absent = [label for label in dataset.labels if label not in other.labels]
        if absent:
            yield Caveat(f"{name} has no column for {together(absent)}, so that was not compared.", is_loud=True)


def _of_scores(dataset: Dataset, scores: Sequence[LabelScores]) -> Iterator[Caveat]:
    for result in scores:
        if result.n_blank and result.blank_means == "negative":
            blanks = counted(result.n_blank, "blank label was", "blank labels were")
            yield Caveat(f"{result.label}: {blanks} taken for negative; see --blank.")
    few = [each.label for each in scores if each.marks and each.computable]
    if few:
        yield Caveat(f"Fewer than 10 positives or negatives are too few to judge: {', '.join(few)}.")
    lone = [each.label for each in scores if not each.computable]
    if lone:
        yield Caveat(f"Only one class is there, so there is nothing to tell apart: {', '.join(lone)}.")
    if not dataset.probabilities:
        yield Caveat("Some scores are outside 0 to 1, so nothing that needs probabilities was computed.")
