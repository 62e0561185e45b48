"""What `cxrzero export` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrzero.options import REQUIRED, argument, option

Target = Literal["fiftyone", "label-studio"]
# Where Label Studio gives out files of its own machine, by their path under its document root.
LOCAL_FILES = "/data/local-files/?d="


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """One `cxrzero export`; each field says what it is for."""

    table: Path = argument("PREDICTIONS", "Give the table that cxrzero predict wrote.")
    to: Target = option(REQUIRED, "Write what this program reads.")
    out: Path | None = option(
        None,
        "Write to this file; by default labels.json for FiftyOne and tasks.json for Label Studio, whose labelling "
        "configuration stands beside it as .xml.",
        short="-o",
        metavar="FILE",
    )
    overwrite: bool = option(False, "Replace files that exist already.")
    png: Path | None = option(
        None,
        "Draw each film as a PNG file in this folder, upright and bright where it is dense, and show that: DICOM, TIFF "
        "and single frames can be shown in no other way.",
        metavar="DIR",
    )
    images: Path = option(
        Path(), "Look for films with a relative path from this folder, by default the current one.", metavar="DIR"
    )
    prefix: str | None = option(
        None,
        f"Set what stands before the path of each picture, for Label Studio: {LOCAL_FILES} if nothing is set.",
        metavar="URL",
    )
    threshold: float | None = option(
        None,
        "Take a label with at least this probability as found; by default the table's own decisions say what is.",
        metavar="X",
        minimum=0,
        maximum=1,
    )
