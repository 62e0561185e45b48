"""compare.csv and compare.json (described in docs/compare.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero._version import __version__
from cxrzero.evaluate.outputs import long_csv, plain
from cxrzero.files import no_formula, write_whole
from cxrzero.options import record_of
from cxrzero.stats.intervals import Estimate

if TYPE_CHECKING:
    from cxrzero.compare.run import Comparison

SCHEMA, SCHEMA_VERSION = "cxrzero.compare", 1
COMPARE_HTML, COMPARE_CSV, COMPARE_JSON = "compare.html", "compare.csv", "compare.json"
NAMES = (COMPARE_HTML, COMPARE_CSV, COMPARE_JSON)
COLUMNS = ("label", "metric", "rule", "asked", "value", "low", "high", "interval", "n", "marks")


def write_outputs(comparison: Comparison, folder: Path, page: str) -> list[Path]:
    """Write all files of a comparison.

    Raises:
        OutputError: a file cannot be written.
    """
    texts = {COMPARE_CSV: compare_csv(comparison), COMPARE_JSON: compare_json(comparison), COMPARE_HTML: page}
    for name, content in texts.items():
        write_whole(folder / name, content)
    return [folder / name for name in NAMES]


def compare_csv(comparison: Comparison) -> str:
    """Long table: one row per label and metric, in full precision; empty cells where there is no number."""
    return long_csv(COLUMNS, _rows(comparison))


def compare_json(comparison: Comparison) -> str:
    """Everything as JSON; NaN becomes null."""
    pairs, options, evaluation = comparison.pairs, comparison.options, comparison.evaluation
    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "cxrzero": __version__,
        "config": {
            name: str(value) if isinstance(value, Path) else value for name, value in record_of(options).items()
        },
        "models": [None if record is None else record.models for record in pairs.records],
        "unit": pairs.unit,
        "n_units": len(set(pairs.units.tolist())),
        "join": pairs.joined,
        "only_a": pairs.only_a,
        "only_b": pairs.only_b,
        "notes": pairs.notes,
        "warnings": [each.text for each in comparison.warnings],
        "labels": comparison.labels,
        "flips": comparison.flips,
        "comparisons": None if evaluation is None else evaluation.comparisons,
    }
    return json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(comparison: Comparison) -> Iterator[list[Any]]:
    def row(label: str, metric: str, each: Estimate, n: int, rule: str = "", asked: float = float("nan"),
            marks: str = "") -> list[Any]:  # fmt: skip
        numbers = [*map(_cell, (each.value, each.low, each.high))]
        return [no_formula(label), metric, rule, _cell(asked), *numbers, each.method, n, marks]

    for label in comparison.labels:
        marks = ";".join(label.marks)
        for metric in ("spearman", "spearman_bootstrap", "tau_b"):
            yield row(label.label, metric, getattr(label, metric), label.n, marks=marks)
        for metric in ("tied_a", "tied_b"):
            yield row(label.label, metric, Estimate(getattr(label, metric)), label.n, marks=marks)
        if label.shift is not None:
            for metric in ("mean_a", "mean_b", "largest_gap"):
                yield row(label.label, metric, Estimate(getattr(label.shift, metric)), label.n, marks=marks)
        for each in label.decisions:
            n = each.both + each.only_a + each.only_b + each.neither
            decided = (n, each.rule, each.asked, marks)
            for metric in ("kappa", "kappa_bootstrap", "flagged_gap"):
                yield row(label.label, metric, getattr(each, metric), *decided)
            for metric in ("p", "threshold_a", "threshold_b", "both", "only_a", "only_b", "neither"):
                yield row(label.label, metric, Estimate(float(getattr(each, metric))), *decided)
    for found in comparison.evaluation.comparisons if comparison.evaluation else ():
        n = found.n_positive + found.n_negative
        for metric in ("auroc", "average_precision"):
            difference = getattr(found, metric)
            yield row(found.label, f"{metric}_a_minus_b", difference.analytic, n)
            yield row(found.label, f"{metric}_a_minus_b_bootstrap", difference.bootstrap, n)
            for part, value in (("a", difference.this), ("b", difference.other), ("p", difference.p)):
                yield row(found.label, f"{metric}_{part}", Estimate(value), n)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))
