"""What `--calibration` adds to scores: calibrated probabilities and decisions, from a file that `eval` wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.calibration.file import LabelCalibration, check_binding, read_calibration
from cxrzero.calibration.worth import worth
from cxrzero.choices import OWN_CALIBRATION
from cxrzero.errors import ConfigError, LabelError
from cxrzero.files import sha256_of
from cxrzero.maths import Float32s
from cxrzero.model.score import Scorer, Scores


class UnfittedLabelError(LabelError):
    """A calibration has nothing for a label that is asked; `fitted` are those that it has."""

    def __init__(self, given: str, missing: Sequence[str], fitted: Sequence[str]) -> None:
        super().__init__(f"--calibration {given} has nothing for {', '.join(missing)}; it has {', '.join(fitted)}")
        self.fitted = tuple(fitted)


@dataclass(frozen=True, slots=True)
class AppliedCalibration:
    """A calibration file that was fitted for this run's model and prompts.

    Attributes:
        source: "model" where it is the bundle's own, else "file".
        sha256: of the file.
        worth: see `cxrzero.calibration.worth`.
        labels: label asked → what was fitted for it, in the order of the columns.
    """

    source: str
    sha256: str
    worth: str
    labels: Mapping[str, LabelCalibration]

    def __call__(self, scorer: Scorer) -> Scorer:
        """The same scorer, with `calibrated` and `decision`."""
        return CalibratedScorer(scorer, tuple(self.labels.values()))

    def record(self) -> dict[str, Any]:
        """What the two kinds of columns were made with, for the run record."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "worth": self.worth,
            "labels": {
                label: {
                    "threshold": each.threshold and each.threshold.value,
                    "rule": each.threshold and each.threshold.rule,
                    "calibrator": each.calibrator and each.calibrator.as_dict(),
                }
                for label, each in self.labels.items()
            },
        }

    def notes(self) -> list[str]:
        """What to know before the answer: what the model's own one is worth, and labels whose columns stay empty."""
        own = [f"the model's own calibration: {self.worth}"] if self.source == OWN_CALIBRATION else []
        return own + self._gaps()

    def _gaps(self) -> list[str]:
        without = {
            ("threshold", "decision"): [label for label, each in self.labels.items() if each.threshold is None],
            ("calibrator", "calibrated probability"): [
                label for label, each in self.labels.items() if each.calibrator is None
            ],
        }
        return [
            f"the calibration has no {what} for {', '.join(labels)}, so the {column} is left empty"
            for (what, column), labels in without.items()
            if labels
        ]


@dataclass(frozen=True, slots=True)
class CalibratedScorer:
    """A scorer with calibration: `fitted` has an entry for each label, in order."""

    scorer: Scorer
    fitted: tuple[LabelCalibration, ...]

    def __call__(self, image_embeds: Float32s) -> Scores:
        """(N, D) float32 → scores (N, L); a decision is taken on the probability, not on the calibrated one."""
        scores = self.scorer(image_embeds)
        calibrated, decision = (np.full(scores.probability.shape, None, object) for _ in range(2))
        for column, each in enumerate(self.fitted):
            probability = scores.probability[:, column]
            if each.calibrator is not None:
                calibrated[:, column] = each.calibrator(probability.astype(np.float64)).astype(np.float32)
            if each.threshold is not None:
                decision[:, column] = (probability >= lowest_positive(each.threshold.value)).astype(np.int64)
        return dataclasses.replace(scores, calibrated=calibrated, decision=decision)


def fitted_labels(path: Path) -> tuple[str, ...]:
    """The labels that a calibration file was fitted for: what is asked with it where nobody says.

    Raises:
        NoInputError, ConfigError: see `cxrzero.calibration.file.read_calibration`.
    """
    return tuple(read_calibration(path).labels)


def load_calibration(
    path: Path, decisive: Mapping[str, Any], labels: Sequence[str], *, of_model: bool = False
) -> AppliedCalibration:
    """Read a calibration file for a run.

    Args:
        path: calibration.json.
        of_model: whether it is the bundle's own, which messages call as it was typed.
        decisive: what decides the run's scores, by the keys of its record (`Screener.decisive`).
        labels: that are asked.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is damaged, unbound, or was fitted for something else; the message names the field.
        LabelError: it lacks a label.
    """
    calibration = read_calibration(path)
    given = OWN_CALIBRATION if of_model else str(path)
    try:
        check_binding(calibration, decisive)
    except ConfigError as error:
        raise ConfigError(f"--calibration {given}: {error}") from None
    missing = [label for label in labels if label not in calibration.labels]
    if missing:
        raise UnfittedLabelError(given, missing, tuple(calibration.labels))
    source = OWN_CALIBRATION if of_model else "file"
    fitted = {label: calibration.labels[label] for label in labels}
    return AppliedCalibration(source, sha256_of(path), worth(calibration), fitted)


def lowest_positive(threshold: float) -> np.float32:
    """The lowest float32 probability that is a positive decision.

    `eval` chose the threshold on the decimals of a table: 0.7 is reached by the float32 that is written as 0.7, though
    that number is slightly below it.
    """
    nearest = np.float32(threshold)
    return nearest if float(str(nearest)) >= threshold else np.nextafter(nearest, np.float32(2))
