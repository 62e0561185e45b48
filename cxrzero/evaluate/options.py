"""What `cxrzero eval` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import (
    DEFAULT_MODEL,
    Aggregate,
    AggregateLabels,
    Blank,
    CalibratorMethod,
    LabelLevel,
    Uncertain,
)
from cxrzero.options import ADVANCED, argument, comma_list, option
from cxrzero.predict.options import read_labels

LABELS = "Labels and joining"


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """One evaluation; each field says what it is for. Of labels see `cxrzero.evaluate.labels.LabelRules`."""

    predictions: str = argument("PREDICTIONS", "Prediction table, or a folder of images.")
    labels: str = argument("LABELS.csv", "Reference labels.")
    out: Path | None = option(
        None,
        "Write metrics.csv, metrics.json, report.html, calibration.json.",
        short="-o",
        metavar="DIR",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace results that are in DIR already.", decides="nothing", recorded=False)

    # What the labels say, and to which prediction each belongs.
    mapping: tuple[str, ...] = option(
        (), "Predicted label A is B or C in LABELS.csv.", flag="--map", metavar="A=B|C", panel=LABELS
    )
    list_column: str | None = option(None, "The column that lists findings.", metavar="NAME", panel=LABELS)
    uncertain: Uncertain = option("ignore", "What -1 counts as.", panel=LABELS)
    blank: Blank = option("auto", "What blanks count as; auto: negative where -1 or no 0 is used.", panel=LABELS)
    on: str | None = option(None, "Join column A to LABELS.csv's column B.", metavar="A=B", panel=LABELS)
    level: LabelLevel = option("auto", "What a row of LABELS.csv is.", panel=LABELS)
    aggregate: Aggregate = option("mean", "How a study's images become one score.", panel=LABELS)
    aggregate_labels: AggregateLabels | None = option(
        None,
        "How rows of LABELS.csv that differ on one film become one. majority leaves ties out, mean is positive from a "
        "half on.",
        panel=LABELS,
    )
    patient: str | None = option(None, "The column that names the patient.", metavar="NAME", panel=LABELS)
    any_score: bool = option(False, "Accept scores outside 0 to 1 (logits).", panel=ADVANCED)

    # Where thresholds and calibrators come from.
    validation: tuple[str, str] | None = option(
        None, "Choose thresholds and calibrate on these separate tables.", metavar="PREDICTIONS LABELS"
    )
    calibration: str | None = option(None, "Apply the thresholds and calibration of an earlier run.", metavar="JSON")
    in_sample: bool = option(False, "Choose thresholds on the tested table itself: too good.", panel=ADVANCED)
    threshold: float | None = option(None, "One threshold for all labels.", metavar="X", panel=ADVANCED)
    threshold_rule: str = option("max-mcc", "max-mcc, youden, or sensitivity=0.9.", metavar="RULE")
    calibrator: CalibratorMethod | None = option("platt", "How probabilities are calibrated.", panel=ADVANCED)

    # What is compared and stated.
    prevalence: float | None = option(None, "State PPV and NPV at this prevalence too.", metavar="X")
    readers: tuple[str, ...] = option(
        (), "A reader's 0/1 decisions; give it once per reader.", flag="--reader", metavar="CSV"
    )
    compare: tuple[str, ...] = option((), "Other predictions for the same labels; repeatable.", metavar="CSV")
    by: tuple[str, ...] = option(
        (), "Subgroups, for example sex,age,view_position.", metavar="COLUMNS", parse=comma_list
    )
    confidence: float = option(0.95, "Of intervals.", metavar="X", panel=ADVANCED)
    n_resamples: int = option(1000, "Bootstrap resamples; 0: none.", flag="--resamples", metavar="N", panel=ADVANCED)
    seed: int = option(0, "Of the bootstrap.", metavar="N", panel=ADVANCED)

    # Of a folder that is predicted first; the predictions' own record has them.
    asked: tuple[str, ...] | None = option(
        None,
        "For a folder: what to ask, as in predict.",
        flag="--labels",
        metavar="LIST",
        parse=read_labels,
        panel=ADVANCED,
        recorded=False,
    )
    model: tuple[str, ...] = option(
        (DEFAULT_MODEL,), "For a folder: as in predict.", short="-m", metavar="MODEL", panel=ADVANCED, recorded=False
    )
