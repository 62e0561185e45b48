"""calibration.json: thresholds and calibrators per label, bound to the model that they were fitted for.

A calibrator is only true for the encoder, preprocessing, precision, scoring rule, ensemble and prompts whose scores it
was fitted on. The file carries all of them, and `check_binding` compares them with a run's manifest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.files import write_whole
from cxrzero.model.model_json import TOGETHER
from cxrzero.stats.calibrators import Calibrator, calibrator_from_dict
from cxrzero.stats.thresholds import Threshold

SCHEMA = "cxrzero.calibration"
SCHEMA_VERSION = 1

# Keys of a run manifest that decide its scores. Models are compared by fingerprint, in the order given.
BOUND_KEYS = ("models", "preprocess", "precision", "scoring", "prompts")
# An isotonic map has two points a film at most; the limit only keeps a hostile file out of memory.
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class FittedOn:
    """What it was fitted on: rows of the labels, each a `row` ("film" or "study"), of independent units.

    Attributes:
        unit: "patient", "study" or "image".
    """

    n_rows: int
    row: str
    n_units: int
    unit: str


@dataclass(frozen=True, slots=True)
class Tested:
    """A threshold on rows that it was not chosen on."""

    sensitivity: float
    specificity: float
    n_positive: int
    n_negative: int


@dataclass(frozen=True, slots=True)
class LabelCalibration:
    """What was fitted for one label; None where its rows had one class only, or nothing was asked for.

    Attributes:
        tested: None where it was not, or where nothing says that the rows were others.
    """

    threshold: Threshold | None
    calibrator: Calibrator | None
    n_positive: int
    n_negative: int
    tested: Tested | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Contents of calibration.json.

    Attributes:
        labels: label as the prediction table writes it → what was fitted.
        binding: the manifest's decisive keys; None for a table without manifest: then it is bound to nothing.
        in_sample: fitted on the table that it was then tested on.
        fitted_on: None in files of earlier versions.
        note: what a person says of it, in a sentence (`cxrzero models calibrate --note`).
    """

    labels: Mapping[str, LabelCalibration]
    binding: Mapping[str, Any] | None
    in_sample: bool = False
    fitted_on: FittedOn | None = None
    note: str | None = None

    @property
    def thresholds(self) -> dict[str, Threshold]:
        return {label: each.threshold for label, each in self.labels.items() if each.threshold is not None}

    @property
    def calibrators(self) -> dict[str, Calibrator]:
        return {label: each.calibrator for label, each in self.labels.items() if each.calibrator is not None}


def binding(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The part of a run manifest that decides scores; None without a manifest."""
    if manifest is None:
        return None
    bound = {key: manifest.get(key) for key in BOUND_KEYS}
    models = bound["models"] or []
    bound["models"] = [{"name": model.get("name"), "fingerprint": model.get("fingerprint")} for model in models]
    return bound


def check_binding(calibration: Calibration, manifest: Mapping[str, Any]) -> None:
    """Compare a calibration with the run that is to use it.

    Raises:
        ConfigError: it was fitted for something else; the message names the field.
    """
    if calibration.binding is None:
        raise ConfigError(
            "the calibration is unbound: it was fitted on a table without run manifest, so nothing says for which model"
        )
    wanted = binding(manifest) or {}
    for key in ("precision", "models", "preprocess", "scoring"):  # in another precision the fingerprint differs, too
        ours, theirs = calibration.binding.get(key), wanted.get(key)
        if key == "models":
            ours, theirs = ([model["fingerprint"] for model in models or []] for models in (ours, theirs))
        if ours != theirs:
            raise ConfigError(
                f"the calibration was fitted for another {key}: {_short(ours)}, this run has {_short(theirs)}"
            )
    fitted, asked = (_by_label(prompts) for prompts in (calibration.binding.get("prompts"), wanted.get("prompts")))
    for label, prompts in asked.items():
        theirs = fitted.get(label)
        if label not in calibration.labels or theirs == prompts:
            continue
        if theirs and theirs | {TOGETHER: None} == prompts | {TOGETHER: None}:
            raise ConfigError(
                f"the calibration was fitted for the label {label!r} asked beside other labels, and the model is asked "
                "all labels of a question together; ask for those that it was fitted for"
            )
        raise ConfigError(f"the calibration was fitted for other prompts of the label {label!r}")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write calibration.json.

    Raises:
        OutputError: it cannot be written.
    """
    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "cxrzero": __version__,
        "binding": calibration.binding,
        "in_sample": calibration.in_sample,
        "fitted_on": calibration.fitted_on and asdict(calibration.fitted_on),
        "note": calibration.note,
        "decision": "probability >= threshold.value, on the uncalibrated probability",
        "labels": {
            label: {
                "threshold": each.threshold and each.threshold.as_dict(),
                "calibrator": each.calibrator and each.calibrator.as_dict(),
                "n_positive": each.n_positive,
                "n_negative": each.n_negative,
                "tested": each.tested and asdict(each.tested),
            }
            for label, each in calibration.labels.items()
        },
    }
    write_whole(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read calibration.json.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is not a calibration of a version that this program knows.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes; this is not a calibration file")
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: not a calibration file (its schema is not {SCHEMA!r})")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: calibration schema version {record.get('schema_version')!r}; this program reads {SCHEMA_VERSION}"
        )
    try:
        labels = {label: _label_from_dict(entry) for label, entry in record["labels"].items()}
        fitted_on = record.get("fitted_on") and _numbers(FittedOn(**record["fitted_on"]), "n_rows", "n_units")
        note = str(record.get("note") or "") or None
        return Calibration(labels, _bound(record["binding"]), bool(record["in_sample"]), fitted_on or None, note)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: the calibration file is incomplete: {error}") from None


def _label_from_dict(entry: Mapping[str, Any]) -> LabelCalibration:
    threshold = entry["threshold"] and _numbers(Threshold(**entry["threshold"]), "value")
    calibrator = entry["calibrator"] and calibrator_from_dict(entry["calibrator"])
    tested = entry.get("tested") and _numbers(Tested(**entry["tested"]), *entry["tested"])
    counts = int(entry["n_positive"]), int(entry["n_negative"])
    return LabelCalibration(threshold or None, calibrator or None, *counts, tested or None)


def _numbers(made: Any, *names: str) -> Any:
    """Refuse what was made of a text or NaN in the place of a number."""
    for name in names:
        number = getattr(made, name)
        if type(number) not in (int, float) or not math.isfinite(number):
            raise ValueError(f"{name} of a {type(made).__name__} is no number")
    return made


def _bound(value: Any) -> Mapping[str, Any] | None:
    """A binding of the form that `binding` gives."""
    if value is not None:
        for key, name in (("models", "fingerprint"), ("prompts", "label")):
            if not all(isinstance(each, dict) and name in each for each in value[key] or []):
                raise ValueError(f"its {key} have no {name}")
    return value  # type: ignore[no-any-return]


def _by_label(prompts: Any) -> dict[str, Any]:
    return {each["label"]: each for each in prompts or []}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"
