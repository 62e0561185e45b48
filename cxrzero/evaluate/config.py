"""What `cxrzero eval` was asked to do, as plain data. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from cxrzero.choices import Aggregate, Blank, CalibratorMethod, LabelLevel, Uncertain


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """One evaluation.

    Attributes:
        predictions: prediction table.
        labels: reference table.
        out: folder for metrics.csv, metrics.json, report.html and calibration.json; None writes nothing.
        mapping: "predicted label=reference label|another" items, for names that differ.
        list_column: column that lists findings.
        uncertain, blank: what −1 and empty cells mean, see `labels.LabelRules`.
        on: "PREDICTION=LABEL" columns to join by, or one name for both.
        level, aggregate: image or study level, and how images become a study's score.
        patient: column that says which rows are one patient.
        any_score: accept scores outside [0, 1].
        validation: (predictions, labels) to choose thresholds and fit calibration on.
        calibration: a calibration.json whose thresholds and calibrators are applied.
        in_sample: choose thresholds and fit calibration on the table that is tested.
        threshold: one threshold for all labels.
        threshold_rule: "max-mcc", "youden" or "sensitivity=0.9".
        calibrator: how probabilities are calibrated; None does not.
        prevalence: at which PPV and NPV are stated too.
        readers: tables of 0/1 decisions.
        compare: other prediction tables for the same labels.
        by: columns for subgroups.
        confidence, n_resamples, seed: of all intervals.
    """

    predictions: str
    labels: str
    out: str | None = None
    overwrite: bool = False
    mapping: tuple[str, ...] = ()
    list_column: str | None = None
    uncertain: Uncertain = "ignore"
    blank: Blank = "auto"
    on: str | None = None
    level: LabelLevel = "auto"
    aggregate: Aggregate = "mean"
    patient: str | None = None
    any_score: bool = False
    validation: tuple[str, str] | None = None
    calibration: str | None = None
    in_sample: bool = False
    threshold: float | None = None
    threshold_rule: str = "max-mcc"
    calibrator: CalibratorMethod | None = "platt"
    prevalence: float | None = None
    readers: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    confidence: float = 0.95
    n_resamples: int = 1000
    seed: int = 0
