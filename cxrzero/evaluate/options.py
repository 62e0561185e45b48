"""What `cxrzero eval` is asked to do. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import (
    DEFAULT_MODEL,
    Aggregate,
    AggregateLabels,
    Blank,
    CalibratorMethod,
    LabelLevel,
    MapMethod,
    Uncertain,
)
from cxrzero.errors import ConfigError
from cxrzero.options import ADVANCED, argument, comma_list, option
from cxrzero.predict.options import read_labels

LABELS = "Labels and joining"
BOXES = "Boxes"

_SIZE = re.compile(r"(\d{1,6})\s*[x×X]\s*(\d{1,6})")


def read_size(text: str) -> tuple[int, int]:
    """Read "1024x1024" as (width, height) in pixels.

    Raises:
        ConfigError: it is not that.
    """
    match = _SIZE.fullmatch(text.strip())
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not width or not height:
        raise ConfigError(f"--box-size {text!r}: write the films' width and height in pixels, such as 1024x1024")
    return width, height


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """One evaluation; each field says what it is for. Of labels see `cxrzero.evaluate.labels.LabelRules`."""

    predictions: str = argument(
        "PREDICTIONS",
        "Give a table of predictions, or a folder of images to predict first; with --boxes a folder of maps (cxrzero "
        "heatmap --format npz), or of images to map first.",
    )
    labels: str = argument("[LABELS.csv]", "Give the table of reference labels; none with --boxes.", default="")
    out: Path | None = option(
        None,
        "Write metrics.csv, metrics.json, report.html and calibration.json to this folder; with --boxes location.csv, "
        "location.json and location.html.",
        short="-o",
        metavar="DIR",
        decides="nothing",
        recorded=False,
    )
    images: Path | None = option(
        None,
        "Show the films of the worst errors in report.html; their files are looked for under this folder.",
        metavar="ROOT",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace results that are in DIR already.", decides="nothing", recorded=False)

    # What the labels say, and to which prediction each belongs.
    mapping: tuple[str, ...] = option(
        (),
        "Say that the predicted label A is called B or C in LABELS.csv.",
        flag="--map",
        metavar="A=B|C",
        panel=LABELS,
    )
    list_column: str | None = option(None, "Name the column that lists findings.", metavar="NAME", panel=LABELS)
    uncertain: Uncertain = option("ignore", "Say what -1 counts as.", panel=LABELS)
    blank: Blank = option(
        "auto",
        "Say what a blank counts as; auto takes it as negative where the table uses -1 or never 0.",
        panel=LABELS,
    )
    on: str | None = option(
        None, "Join column A of the predictions to column B of LABELS.csv.", metavar="A=B", panel=LABELS
    )
    level: LabelLevel = option("auto", "Say what a row of LABELS.csv stands for.", panel=LABELS)
    aggregate: Aggregate = option("mean", "Join the scores of a study's images in this way.", panel=LABELS)
    aggregate_labels: AggregateLabels | None = option(
        None,
        "Join rows of LABELS.csv that differ on one film in this way; majority leaves ties out, mean takes a half as "
        "positive.",
        panel=LABELS,
    )
    patient: str | None = option(None, "Name the column that tells patients apart.", metavar="NAME", panel=LABELS)
    any_score: bool = option(False, "Accept scores outside 0 to 1 (logits).", panel=ADVANCED)

    # Where thresholds and calibrators come from.
    validation: tuple[str, str] | None = option(
        None, "Choose thresholds and calibrate on these two separate tables.", metavar="PREDICTIONS LABELS"
    )
    calibration: str | None = option(None, "Apply the thresholds and calibration of an earlier run.", metavar="JSON")
    in_sample: bool = option(
        False, "Choose thresholds on the tested table itself; what comes out is too optimistic.", panel=ADVANCED
    )
    threshold: float | None = option(None, "Decide every label at this one threshold.", metavar="X", panel=ADVANCED)
    threshold_rule: str = option(
        "max-mcc", "Choose thresholds by this rule: max-mcc, youden, or sensitivity=0.9.", metavar="RULE"
    )
    calibrator: CalibratorMethod | None = option("platt", "Calibrate probabilities by this method.", panel=ADVANCED)

    # What is compared and stated.
    prevalence: float | None = option(
        None, "State the predictive values (PPV and NPV) at this prevalence too.", metavar="X"
    )
    readers: tuple[str, ...] = option(
        (),
        "Compare with the 0/1 decisions of a human reader; give it once for each reader.",
        flag="--reader",
        metavar="CSV",
    )
    compare: tuple[str, ...] = option(
        (), "Compare with other predictions for the same labels; give it once for each table.", metavar="CSV"
    )
    by: tuple[str, ...] = option(
        (), "Evaluate subgroups too, for example sex,age,view_position.", metavar="COLUMNS", parse=comma_list
    )
    confidence: float = option(0.95, "State intervals at this level of confidence.", metavar="X", panel=ADVANCED)
    n_resamples: int = option(
        1000,
        "Draw N bootstrap resamples for the intervals; 0 computes no intervals.",
        flag="--resamples",
        metavar="N",
        panel=ADVANCED,
    )
    seed: int = option(0, "Seed the random numbers of the bootstrap.", metavar="N", panel=ADVANCED)

    # Where maps point, against boxes that readers drew.
    boxes: Path | None = option(
        None, "Say how often maps point into the boxes of this table that readers drew.", metavar="CSV", panel=BOXES
    )
    box_size: tuple[int, int] | None = option(
        None,
        "Say on films of which size the boxes were drawn, where that is not the films' own.",
        metavar="WIDTHxHEIGHT",
        parse=read_size,
        panel=BOXES,
    )
    seen: str | None = option(
        None,
        "Say on which films the model was trained: a file that lists them, or a column of the boxes.",
        metavar="FILE|COLUMN",
        panel=BOXES,
    )
    method: MapMethod = option(
        "auto", "Take this method where PREDICTIONS is a folder of images to map, as in heatmap.", panel=BOXES
    )
    unseen: bool = option(False, "Say that the model was trained on none of these films.", panel=BOXES)

    # Of a folder that is predicted first; the predictions' own record has them.
    asked: tuple[str, ...] | None = option(
        None,
        "Name the findings to ask where PREDICTIONS is a folder of images, as in predict.",
        flag="--labels",
        metavar="LIST",
        parse=read_labels,
        panel=ADVANCED,
        recorded=False,
    )
    model: tuple[str, ...] = option(
        (DEFAULT_MODEL,),
        "Ask this model where PREDICTIONS is a folder of images, as in predict; --images draws its maps.",
        short="-m",
        metavar="MODEL",
        panel=ADVANCED,
        recorded=False,
    )
