"""One evaluation from start to end: join, score, choose thresholds, calibrate, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrzero.calibration.file import Calibration, check_binding, read_calibration
from cxrzero.errors import ConfigError, LabelError, NoInputError
from cxrzero.evaluate.calibrate import fit_calibration, tested_on_others
from cxrzero.evaluate.caveats import Caveat, caveats
from cxrzero.evaluate.compare import Comparison, compare_tables
from cxrzero.evaluate.dataset import Dataset, JoinRules
from cxrzero.evaluate.discrimination import Intervals, LabelScores, MacroScores, macro_scores, score_label
from cxrzero.evaluate.errors import WorstError, worst_errors
from cxrzero.evaluate.keys import bare
from cxrzero.evaluate.load import load_dataset
from cxrzero.evaluate.match import parse_mapping
from cxrzero.evaluate.operating import MacroOperating, OperatingPoint, operating_points
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.probabilities import ProbabilityQuality, probability_quality
from cxrzero.evaluate.readers import ReaderComparison, compare_readers
from cxrzero.evaluate.subgroups import Subgroups, by_column
from cxrzero.places.kind import is_file, kind_of_place
from cxrzero.sources import FILES_ONLY
from cxrzero.sources.refs import NO_OBJECTS
from cxrzero.stats.resample import Resampling
from cxrzero.stats.thresholds import Threshold, parse_rule
from cxrzero.tables.labels import LabelRules

Predict = Callable[[Path, Path], Path]  # (folder of images, label table) → prediction table


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that one evaluation found; the outputs are views of it.

    Attributes:
        calibration: what was fitted or read; None where no thresholds were asked for.
        validation: the dataset it was fitted on, if that is another than `dataset`.
        shared_units: units (patients or studies) that occur in both tables.
        warnings: the loud ones first.
        errors: the worst ones of each label, where options.images asks for their films.
    """

    options: EvalOptions
    dataset: Dataset
    scores: tuple[LabelScores, ...]
    macro: MacroScores
    points: dict[str, OperatingPoint]
    macro_point: MacroOperating | None
    quality: tuple[ProbabilityQuality, ...]
    calibration: Calibration | None
    validation: Dataset | None
    shared_units: tuple[str, ...]
    readers: tuple[ReaderComparison, ...]
    comparisons: tuple[Comparison, ...]
    subgroups: tuple[Subgroups, ...]
    warnings: tuple[Caveat, ...]
    errors: tuple[WorstError, ...] = ()


def evaluate(options: EvalOptions, predict: Predict | None = None) -> Evaluation:
    """Evaluate a prediction table against reference labels. Writes nothing.

    Args:
        predict: makes the prediction table when options.predictions is a folder of images.

    Raises:
        UsageError: options or tables that cannot be used; the message says which and why.
    """
    _check(options)
    intervals = Intervals(options.confidence, Resampling(options.n_resamples, options.seed))
    label_rules = LabelRules(parse_mapping(options.mapping), options.list_column, options.uncertain, options.blank)
    join_rules = JoinRules(
        _on(options.on),
        options.level,
        options.aggregate,
        options.aggregate_labels,
        options.patient,
        options.any_score,
    )

    def load(predictions: str, labels: str, like: Dataset | None = None) -> Dataset:
        if not is_file(predictions):
            raise NoInputError(FILES_ONLY if kind_of_place(predictions) == "archive" else NO_OBJECTS)
        table = Path(predictions)
        if Path(labels).is_dir():
            raise ConfigError(f"{labels} is a folder, and labels are a table; are predictions and labels swapped?")
        if table.is_file() and Path(labels).is_file() and table.samefile(labels):
            raise ConfigError(f"{labels} is given as predictions and as labels; a table agrees with itself")
        if table.is_dir():
            if predict is None:
                raise ConfigError(f"{table} is a folder; predict first and give the prediction table")
            table = predict(table, Path(labels))
        by = options.by if like is None else ()
        films = options.images is not None and (predictions, labels) == (options.predictions, options.labels)
        return load_dataset(table, Path(labels), label_rules, join_rules, by, like, films=films)

    dataset = load(options.predictions, options.labels)
    validation = load(*options.validation, dataset) if options.validation else None
    scores = [score_label(dataset, label, intervals) for label in dataset.labels]
    if not any(each.n_positive + each.n_negative for each in scores):
        raise LabelError("no row has both a score and a reference label; see the status column and blank labels")
    calibration = _calibration(options, dataset, validation)
    thresholds = _thresholds(options, dataset, calibration)
    enough = [each.label for each in scores if each.enough]
    points, macro_point = operating_points(dataset, thresholds, enough, intervals, options.prevalence)
    macro = macro_scores(dataset, scores, intervals)
    readers = {name: load(path, options.labels, dataset) for path, name in _names(options.readers).items()}
    others = {name: load(path, options.labels, dataset) for path, name in _names(options.compare).items()}
    shared = _shared_units(dataset, validation)
    if calibration and validation and not shared and dataset.unit_name == validation.unit_name:
        calibration = tested_on_others(calibration, dataset, points)
    return Evaluation(
        options=options,
        dataset=dataset,
        scores=tuple(scores),
        macro=macro,
        points=points,
        macro_point=macro_point,
        quality=tuple(probability_quality(dataset, calibration, options.confidence)),
        calibration=calibration,
        validation=validation,
        shared_units=shared,
        readers=tuple(compare_readers(dataset, readers, thresholds, intervals)) if readers else (),
        comparisons=tuple(compare_tables(dataset, others, macro.labels, intervals)),
        subgroups=tuple(by_column(dataset, column, thresholds, intervals) for column in dataset.groups),
        warnings=tuple(caveats(options, dataset, scores, calibration, validation, shared, readers | others)),
        errors=tuple(worst_errors(dataset, points)),
    )


def _check(options: EvalOptions) -> None:
    if not options.labels:
        raise ConfigError("name the table of reference labels after the predictions; or give --boxes, for maps")
    sources = {
        "--validation": options.validation,
        "--calibration": options.calibration,
        "--in-sample": options.in_sample,
        "--threshold": options.threshold is not None,
    }
    given = [name for name, value in sources.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} both say where thresholds come from; give one")
    if options.readers and not given:
        raise ConfigError("--reader compares decisions: say where thresholds come from, for example --validation")
    if options.images is not None and not options.images.is_dir():
        raise ConfigError(f"--images {options.images}: there is no such folder")
    if not 0 < options.confidence < 1:
        raise ConfigError(f"--confidence {options.confidence:g} is not between 0 and 1")
    if options.prevalence is not None and not 0 < options.prevalence < 1:
        raise ConfigError(f"--prevalence {options.prevalence:g} is not between 0 and 1")
    if options.n_resamples < 0 or 0 < options.n_resamples < 100:
        raise ConfigError(f"--resamples {options.n_resamples}: give at least 100, or 0 for no bootstrap")
    if options.readers and not options.n_resamples:
        raise ConfigError("--reader needs the bootstrap: give --resamples of at least 100")
    parse_rule(options.threshold_rule)


def _on(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    one, _, other = text.partition("=")
    return one.strip(), (other or one).strip()


def _calibration(options: EvalOptions, dataset: Dataset, validation: Dataset | None) -> Calibration | None:
    if options.calibration:
        given = read_calibration(Path(options.calibration))
        if not set(given.labels) & set(dataset.labels):
            raise LabelError(f"{options.calibration} has none of the labels {', '.join(dataset.labels)}")
        if given.binding is not None and dataset.manifest is not None:
            check_binding(given, dataset.manifest)
        return given
    if validation is None and not options.in_sample:
        return None
    rule, target = parse_rule(options.threshold_rule)
    return fit_calibration(validation or dataset, rule, target, options.calibrator, in_sample=options.in_sample)


def _thresholds(options: EvalOptions, dataset: Dataset, calibration: Calibration | None) -> dict[str, Threshold]:
    if options.threshold is not None:
        return {label: Threshold(options.threshold, "fixed", "user") for label in dataset.labels}
    return calibration.thresholds if calibration else {}


def _names(paths: Sequence[str]) -> dict[str, str]:
    """A short name for each table: its stem, or the whole path where stems repeat."""
    stems = [Path(path).stem for path in paths]
    return {path: stem if stems.count(stem) == 1 else path for path, stem in zip(paths, stems, strict=True)}


def _shared_units(dataset: Dataset, validation: Dataset | None) -> tuple[str, ...]:
    if validation is None:
        return ()
    theirs = set(map(bare, validation.unit_keys))
    return tuple(sorted(key for key in set(dataset.unit_keys) if bare(key) in theirs))
