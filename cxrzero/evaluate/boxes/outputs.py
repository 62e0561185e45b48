"""location.csv and location.json (schema documented in docs/location.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.evaluate.boxes.run import Localisation
from cxrzero.evaluate.boxes.score import RANGES
from cxrzero.evaluate.outputs import check_free, long_csv, plain
from cxrzero.files import no_formula, write_whole
from cxrzero.options import record_of
from cxrzero.stats.intervals import Estimate
from cxrzero.stats.regions import CUTOFFS

SCHEMA = "cxrzero.location"
SCHEMA_VERSION = 1

LOCATION_CSV, LOCATION_JSON, LOCATION_HTML = "location.csv", "location.json", "location.html"
NAMES = (LOCATION_CSV, LOCATION_JSON, LOCATION_HTML)

COLUMNS = (
    "label", "training", "metric", "value", "low", "high", "interval", "n_films", "n_units", "n_boxes", "verdict",
)  # fmt: skip


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Find out before the work whether the results can be written, see `cxrzero.evaluate.outputs.check_free`."""
    check_free(folder, NAMES, overwrite=overwrite)


def write_outputs(found: Localisation, folder: Path, page: str) -> list[Path]:
    """Write all files; `page` is the HTML report.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, text in zip(NAMES, (location_csv(found), location_json(found), page), strict=True):
        write_whole(folder / name, text)
    return [folder / name for name in NAMES]


def location_csv(found: Localisation) -> str:
    """Long table: one row per finding and metric, in full precision; empty cells where there is no number."""
    return long_csv(COLUMNS, _rows(found))


def location_json(found: Localisation) -> str:
    """Everything as JSON; NaN becomes null. `cxrzero models location` puts it into a model's card."""
    gathered = found.gathered
    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "cxrzero": __version__,
        "config": record_of(found.options) | {"boxes": _name(found.options.boxes)},
        "model": {"fingerprint": gathered.fingerprint},
        "method": gathered.method,
        "dataset": gathered.table.path.name,
        "unit": gathered.unit,
        "cutoffs": CUTOFFS.tolist(),
        "join": gathered.join,
        "label_match": gathered.match,
        "counts": gathered.counts,
        "not_asked": gathered.not_asked,
        "warnings": [each.text for each in found.warnings],
        "labels": found.labels,
        "mean": found.mean,
    }
    return json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(found: Localisation) -> Iterator[list[Any]]:
    for each in found.labels:
        counts = (each.n_films, each.n_units, each.n_boxes, each.verdict)
        for metric in RANGES:
            yield [no_formula(each.label), each.training, metric, *_cells(getattr(each, metric)), *counts]
        best = Estimate(each.best_point_hit_rate)
        yield [no_formula(each.label), each.training, "best_point_hit_rate", *_cells(best), *counts]
    if found.mean is not None:
        name = f"mean of {len(found.mean.labels)}"
        for metric, estimate in found.mean.values.items():
            yield [name, found.mean.training, metric, *_cells(estimate), "", "", "", ""]


def _cells(each: Estimate) -> list[str]:
    return [*("" if math.isnan(x) else repr(float(x)) for x in (each.value, each.low, each.high)), each.method]


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
