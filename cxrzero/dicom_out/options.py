"""What `cxrzero dicom-sr` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import MapObject, ReportPer
from cxrzero.options import argument, option


@dataclass(frozen=True, slots=True)
class DicomSrOptions:
    """One `cxrzero dicom-sr`; each field says what it is for."""

    table: Path = argument("PREDICTIONS", "Give the table that cxrzero predict wrote, with its record beside it.")
    out: Path = option(
        Path("reports"), "Write the objects to this folder, each named by its own UID.", short="-o", metavar="DIR"
    )
    per: ReportPer = option("study", "Write one report for each study, or for each image.")
    codes: Path | None = option(
        None,
        "Take the codes of findings from this table of your own, with the columns label, value, scheme, meaning.",
        metavar="CSV",
    )
    heatmaps: Path | None = option(
        None, "Write the maps in this folder, which cxrzero heatmap made, as objects too.", metavar="DIR"
    )
    maps_as: MapObject = option(
        "parametric-map",
        "Write maps as numbers (heatmap --format npz or both), or as pictures for viewers that show nothing else "
        "(--format png or both).",
        flag="--as",
    )
    images: Path = option(
        Path(), "Look for films with a relative path from this folder, by default the current one.", metavar="DIR"
    )
    overwrite: bool = option(False, "Replace objects of the same UID that are in DIR already and differ.")
