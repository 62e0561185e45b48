"""What `cxrzero heatmap` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import DEFAULT_MODEL, DEVICES, Device, Invert, MapFormat, MapMethod, parse_device
from cxrzero.options import ADVANCED, argument, option


def read_labels(text: str) -> tuple[str, ...]:
    """See `cxrzero.prompts.parse_labels`."""
    from cxrzero.prompts import parse_labels  # imported when there is something to read: --help should come at once

    return parse_labels(text)


@dataclass(frozen=True, slots=True)
class HeatmapOptions:
    """One `cxrzero heatmap`; each field says what it is for. None leaves a choice to the program."""

    paths: tuple[str, ...] = argument(
        "PATH...",
        "Give images, folders (searched recursively), .zip and .tar files, @list.txt, or with --top a table of cxrzero "
        "predict.",
    )
    labels: tuple[str, ...] | None = option(
        None,
        "Name the findings in plain words, see predict; by default the table's, or the model's list.",
        metavar="LIST",
        parse=read_labels,
    )
    method: MapMethod = option(
        "auto",
        "Look at patches (one pass, where the model has them), show what a model that scores by attention looks at, or "
        "cover places (any model, many passes); auto takes what was measured better, and says so.",
    )
    out: Path = option(
        Path("heatmaps"), "Write heatmaps.csv and the pictures to this folder.", short="-o", metavar="DIR"
    )
    format: MapFormat = option("png", "Write pictures, NumPy arrays (one file for each frame), or both.")
    top: int | None = option(
        None, "Take the N highest films of each label from a table.", metavar="N", minimum=1, maximum=100_000
    )
    found_above: float | None = option(
        None,
        "Say of films with a lower probability that the finding was not found; by default the threshold of the "
        "model's own calibration, and 0.5 where it has none.",
        metavar="P",
        minimum=0,
        maximum=1,
    )
    model: tuple[str, ...] = option(
        (DEFAULT_MODEL,),
        "Ask this model; see predict. Give it several times for an ensemble.",
        short="-m",
        metavar="MODEL",
    )
    device: Device = option("auto", "Compute on this device; see predict.", metavar=DEVICES, check=parse_device)
    overwrite: bool = option(False, "Replace the heatmaps in a folder that has some already.")
    pseudonymise: bool = option(False, "Replace paths and UIDs in heatmaps.csv by keyed digests.")
    prompts: str | None = option(
        None,
        "Take the sentences for and against each label from this YAML file; see predict.",
        metavar="FILE",
        panel=ADVANCED,
    )
    pseudonym_key: Path | None = option(
        None,
        "Read the key of --pseudonymise from this file; by default your own, made at first use.",
        metavar="FILE",
        panel=ADVANCED,
    )
    invert: Invert = option("auto", "Invert every image or none; see predict.", panel=ADVANCED)
    batch_size: int | None = option(
        None, "Encode N images in one call; see predict.", metavar="N", minimum=1, maximum=4096, panel=ADVANCED
    )
    workers: int | None = option(
        None, "Decode N files at once; see predict.", metavar="N", minimum=1, maximum=256, panel=ADVANCED
    )
