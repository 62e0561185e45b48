"""calibration.json: thresholds and calibrators per label, bound to the model that they were fitted for.

A calibrator is only true for the encoder, preprocessing, precision, scoring rule, ensemble and prompts whose scores it
was fitted on. The file carries all of them, and `check_binding` compares them with a run's manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero._version import __version__
from cxrzero.errors import ConfigError, NoInputError
from cxrzero.files import write_whole
from cxrzero.stats.calibrators import Calibrator, calibrator_from_dict
from cxrzero.stats.thresholds import Threshold

SCHEMA = "cxrzero.calibration"
SCHEMA_VERSION = 1

# Keys of a run manifest that decide its scores. Models are compared by fingerprint, in the order given.
BOUND_KEYS = ("models", "preprocess", "precision", "scoring", "prompts")


@dataclass(frozen=True, slots=True)
class LabelCalibration:
    """What was fitted for one label; None where its rows had one class only, or nothing was asked for."""

    threshold: Threshold | None
    calibrator: Calibrator | None
    n_positive: int
    n_negative: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Contents of calibration.json.

    Attributes:
        labels: label as the prediction table writes it → what was fitted.
        binding: the manifest's decisive keys; None for a table without manifest: then it is bound to nothing.
        in_sample: fitted on the table that it was then tested on.
    """

    labels: Mapping[str, LabelCalibration]
    binding: Mapping[str, Any] | None
    in_sample: bool = False

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
    for key in ("models", "preprocess", "precision", "scoring"):
        ours, theirs = calibration.binding.get(key), wanted.get(key)
        if key == "models":
            ours, theirs = ([model["fingerprint"] for model in models or []] for models in (ours, theirs))
        if ours != theirs:
            raise ConfigError(
                f"the calibration was fitted for another {key}: {_short(ours)}, this run has {_short(theirs)}"
            )
    fitted, asked = (_by_label(prompts) for prompts in (calibration.binding.get("prompts"), wanted.get("prompts")))
    for label, prompts in asked.items():
        if label in calibration.labels and fitted.get(label) != prompts:
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
        "decision": "probability >= threshold.value, on the uncalibrated probability",
        "labels": {
            label: {
                "threshold": each.threshold and each.threshold.as_dict(),
                "calibrator": each.calibrator and each.calibrator.as_dict(),
                "n_positive": each.n_positive,
                "n_negative": each.n_negative,
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
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: not a calibration file (its schema is not {SCHEMA!r})")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: calibration schema version {record.get('schema_version')!r}; this program reads {SCHEMA_VERSION}"
        )
    try:
        labels = {label: _label_from_dict(entry) for label, entry in record["labels"].items()}
        return Calibration(labels, record["binding"], bool(record["in_sample"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: the calibration file is incomplete: {error}") from None


def _label_from_dict(entry: Mapping[str, Any]) -> LabelCalibration:
    threshold = entry["threshold"] and Threshold(**entry["threshold"])
    calibrator = entry["calibrator"] and calibrator_from_dict(entry["calibrator"])
    return LabelCalibration(threshold or None, calibrator or None, int(entry["n_positive"]), int(entry["n_negative"]))


def _by_label(prompts: Any) -> dict[str, Any]:
    return {each["label"]: each for each in prompts or []}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"
