"""metrics.csv and metrics.json (schema documented in docs/eval.md)."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.calibration.file import binding, write_calibration
from cxrzero.errors import OutputError, OutputExistsError
from cxrzero.evaluate.run import Evaluation
from cxrzero.files import no_formula, write_whole
from cxrzero.options import record_of
from cxrzero.stats.intervals import Estimate

SCHEMA = "cxrzero.metrics"
SCHEMA_VERSION = 1

METRICS_CSV, METRICS_JSON = "metrics.csv", "metrics.json"
REPORT_HTML, CALIBRATION_JSON = "report.html", "calibration.json"

COLUMNS = (
    "label", "group", "metric", "value", "low", "high", "interval", "n_positive", "n_negative", "threshold", "marks",
)  # fmt: skip


def output_paths(folder: Path, *, calibrated: bool) -> list[Path]:
    """The files that an evaluation writes."""
    names = [METRICS_CSV, METRICS_JSON, REPORT_HTML, *([CALIBRATION_JSON] if calibrated else [])]
    return [folder / name for name in names]


def check_folder(folder: Path, *, calibrated: bool, overwrite: bool) -> None:
    """Find out before the work whether the results can be written, see `check_free`."""
    check_free(folder, [path.name for path in output_paths(folder, calibrated=calibrated)], overwrite=overwrite)


def check_free(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Find out whether these files can be written to a folder, which is made.

    Raises:
        OutputExistsError: one is there already and overwrite is false.
        OutputError: the folder cannot be made.
    """
    there = [path for path in (folder / name for name in names) if path.exists()]
    if there and not overwrite:
        raise OutputExistsError(f"{there[0]} exists already; choose another --out, or give --overwrite to replace it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made: {error.strerror}") from error


def write_outputs(evaluation: Evaluation, folder: Path, page: str) -> list[Path]:
    """Write all files of an evaluation; `page` is the HTML report.

    Raises:
        OutputError: a file cannot be written.
    """
    fitted = evaluation.calibration is not None and not evaluation.options.calibration
    texts = {METRICS_CSV: metrics_csv(evaluation), METRICS_JSON: metrics_json(evaluation), REPORT_HTML: page}
    for name, text in texts.items():
        write_whole(folder / name, text)
    if fitted and evaluation.calibration is not None:
        write_calibration(folder / CALIBRATION_JSON, evaluation.calibration)
    return output_paths(folder, calibrated=fitted)


def metrics_csv(evaluation: Evaluation) -> str:
    """Long table: one row per label, group and metric, in full precision; empty cells where there is no number."""
    return long_csv(COLUMNS, _rows(evaluation))


def long_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A long table as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def metrics_json(evaluation: Evaluation) -> str:
    """Everything as JSON; NaN becomes null."""
    dataset = evaluation.dataset
    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "cxrzero": __version__,
        "config": record_of(evaluation.options),
        "model": binding(dataset.manifest),
        "unit": dataset.unit_name,
        "n_rows": len(dataset),
        "n_units": len(set(dataset.unit_keys)),
        "join": dataset.join,
        "rows": dataset.rows,
        "repeated_labels": dataset.repeats,
        "label_match": dataset.match,
        "notes": dataset.notes,
        "warnings": [each.text for each in evaluation.warnings],
        "shared_with_validation": len(evaluation.shared_units),
        "labels": evaluation.scores,
        "macro": evaluation.macro,
        "operating_points": evaluation.points,
        "macro_operating_point": evaluation.macro_point,
        "probabilities": evaluation.quality,
        "readers": evaluation.readers,
        "comparisons": evaluation.comparisons,
        "subgroups": evaluation.subgroups,
    }
    return json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(evaluation: Evaluation) -> Iterator[list[Any]]:
    def row(
        label: str, group: str, metric: str, each: Estimate, counts: tuple[Any, Any], more: tuple[Any, str]
    ) -> list[Any]:
        numbers = ("" if math.isnan(x) else repr(float(x)) for x in (each.value, each.low, each.high))
        return [no_formula(label), no_formula(group), metric, *numbers, each.method, *counts, *more]

    ranked = ("auroc", "auroc_bootstrap", "average_precision", "average_precision_bootstrap")
    decided = ("mcc", "f1", "sensitivity", "specificity", "ppv", "npv", "ppv_at", "npv_at")
    parts = [("", evaluation.scores, evaluation.points)]
    for subgroups in evaluation.subgroups:
        parts += [(f"{subgroups.column}={group.name}", group.scores, dict(group.points)) for group in subgroups.groups]
    for group, scores, points in parts:
        for label in scores:
            counts, marks = (label.n_positive, label.n_negative), ";".join(label.marks)
            for name, ranks in (("", label.ranks), ("pair_", label.pair), ("positive_only_", label.positive_only)):
                if ranks is not None:
                    for metric in ranked:
                        yield row(label.label, group, name + metric, getattr(ranks, metric), counts, ("", marks))
            point = points.get(label.label)
            if point is not None:
                more = (repr(point.threshold.value), marks)
                for metric in decided:
                    yield row(label.label, group, metric, getattr(point, metric), counts, more)
    average = evaluation.dataset.average_name
    for metric in ("auroc", "average_precision"):
        yield row(average, "", metric, getattr(evaluation.macro, metric), ("", ""), ("", ""))
    for metric in ("mcc", "f1", "sensitivity", "specificity") if evaluation.macro_point else ():
        yield row(average, "", metric, getattr(evaluation.macro_point, metric), ("", ""), ("", ""))
    for quality in evaluation.quality:
        for metric in ("brier", "ece", "brier_after", "ece_after"):
            yield row(quality.label, "", metric, Estimate(getattr(quality, metric)), ("", ""), ("", ""))
