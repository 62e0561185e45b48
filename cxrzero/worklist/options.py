"""What `cxrzero worklist` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrzero.choices import DEVICES, Device, parse_device
from cxrzero.options import ADVANCED, argument, option

# The longer side of the pictures that the page enlarges: a film of 2,500 pixels fits a screen at half its size.
PICTURE_PIXELS = 1536


@dataclass(frozen=True, slots=True)
class WorklistOptions:
    """One `cxrzero worklist`; each field says what it is for."""

    table: Path = argument("PREDICTIONS", "Give the table that cxrzero predict wrote.")

    # Which films, and in which order.
    label: str | None = option(
        None, "Show the films with the highest probability of this label first.", metavar="LABEL"
    )
    by: Literal["max"] | None = option(
        None,
        "Show the films first whose highest label is highest: of calibrated probabilities, or of ranks within each "
        "label where there are none. This is the default for a table of several labels.",
    )
    top: int = option(200, "Show N films.", metavar="N", minimum=1, maximum=100_000)
    oldest_every: int | None = option(
        None, "Give every N-th place to the film that has waited longest.", metavar="N", minimum=2
    )
    blind: bool = option(
        False, "Draw films and their order by chance, and show no score and no overlay: for reading studies."
    )
    seed: int = option(0, "Seed the random numbers of --blind.", metavar="N", minimum=0)

    # What the page has.
    out: Path = option(Path("worklist"), "Write the page and its pictures to this folder.", short="-o", metavar="DIR")
    overwrite: bool = option(False, "Replace a worklist that is in DIR already.")
    reviews: Path | None = option(None, "Start from the reviews in this table, which a page exported.", metavar="FILE")
    overlays: int | None = option(
        None,
        "Draw where the model sees the finding for the first N films; 0 draws none. By default 200 where the model has "
        "a patch encoder or shows its attention, else none.",
        metavar="N",
        minimum=0,
    )
    pseudonymise: bool = option(
        False, "Replace paths and UIDs by keyed digests, as predict does; the page then links to no file."
    )
    pseudonym_key: Path | None = option(
        None, "Take the key of --pseudonymise from this file.", metavar="FILE", panel=ADVANCED
    )
    pixels: int = option(
        PICTURE_PIXELS,
        "Write pictures whose longer side has at most N pixels.",
        metavar="N",
        minimum=256,
        maximum=8192,
        panel=ADVANCED,
    )

    # Where the films are, and who scores them again.
    images: Path = option(
        Path(), "Look for films with a relative path from this folder, by default the current one.", metavar="DIR"
    )
    model: tuple[str, ...] = option(
        (),
        "Score films again with this model; by default with the one that the run's record names.",
        short="-m",
        metavar="MODEL",
        panel=ADVANCED,
    )
    device: Device = option(
        "auto", "Compute on this device; see predict.", metavar=DEVICES, check=parse_device, panel=ADVANCED
    )
    workers: int | None = option(
        None,
        "Read N films at once; by default one for each core, at most 16.",
        metavar="N",
        minimum=1,
        maximum=256,
        panel=ADVANCED,
    )
