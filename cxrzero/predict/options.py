"""What `cxrzero predict` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import (
    DEFAULT_MODEL,
    Aggregate,
    Backend,
    DecodeIn,
    Device,
    Invert,
    Level,
    Precision,
    TableFormat,
    View,
)
from cxrzero.options import ADVANCED, argument, comma_list, option
from cxrzero.predict.shard import Shard, parse_shard


def read_labels(text: str) -> tuple[str, ...]:
    """See `cxrzero.prompts.parse_labels`."""
    from cxrzero.prompts import parse_labels  # imported when there is something to read: --help should come at once

    return parse_labels(text)


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """One `cxrzero predict`; each field says what it is for. None leaves a choice to the program."""

    paths: tuple[str, ...] = argument(
        "PATH...", "Images, folders (searched recursively) or @list.txt (one path a line).", recorded=False
    )

    # What is asked. The record has these under keys of their own.
    labels: tuple[str, ...] | None = option(
        None,
        'Findings in plain words: pneumonia,"mass, left" or @labels.txt. Without it: the model\'s own list.',
        metavar="LIST",
        parse=read_labels,
        decides="scores",
        recorded=False,
    )
    prompts: str | None = option(
        None,
        "YAML with sentences for and against each label; default is the built-in bank. See cxrzero prompts.",
        metavar="FILE",
        panel=ADVANCED,
        decides="scores",
        recorded=False,
    )
    calibration: str | None = option(
        None,
        "calibration.json of cxrzero eval: adds calibrated numbers and 0/1 decisions.",
        metavar="FILE",
        recorded=False,
    )

    # Where the answer goes.
    out: str | None = option(
        None,
        "The table, .csv, .jsonl or .parquet; - is standard output.",
        short="-o",
        metavar="FILE",
        shown_default="predictions.csv",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace a table that exists already.", decides="nothing", recorded=False)

    # Who answers. The record states what really ran.
    model: tuple[str, ...] = option(
        (DEFAULT_MODEL,),
        "A known name (cxrzero models list), a bundle's folder, or a checkpoint; several are an ensemble.",
        short="-m",
        metavar="MODEL",
        decides="scores",
        recorded=False,
    )
    device: Device = option("auto", "auto takes a GPU where one works, and says what it chose.", recorded=False)
    backend: Backend = option("auto", "What runs the model; in fp32 all agree.", panel=ADVANCED, recorded=False)
    precision: Precision = option(
        "fp32",
        "auto: the fastest that is known to deviate little.",
        panel=ADVANCED,
        decides="scores",
        recorded=False,
    )

    # How the work is carried out.
    batch_size: int | None = option(
        None,
        "Images of one encoder call.",
        metavar="N",
        minimum=1,
        maximum=4096,
        panel=ADVANCED,
        decides="nothing",
    )
    workers: int | None = option(
        None,
        "Files decoded at once; default: cores, to 16.",
        metavar="N",
        minimum=1,
        maximum=256,
        panel=ADVANCED,
        decides="nothing",
    )
    decode_in: DecodeIn = option(
        "auto",
        "auto: in processes from 8 workers on, where threads get slow.",
        panel=ADVANCED,
        decides="nothing",
    )
    cache: bool = option(
        True,
        "Neither use nor keep embeddings (cxrzero cache).",
        flag="--no-cache",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # How images are read, and which of them are scored.
    invert: Invert = option(
        "auto",
        "auto trusts the header's PhotometricInterpretation; yes and no override it for every image.",
        panel=ADVANCED,
    )
    fast_decode: bool = option(
        False,
        "Decode large JPEG and JPEG 2000 files at a fraction of their size, at least twice the model's.",
        panel=ADVANCED,
        decides="scores",
    )
    fail_fast: bool = option(False, "Stop at the first image that cannot be read.", decides="nothing")
    skip: tuple[str, ...] = option(
        (),
        "Do not score images with these flags, e.g. lateral,maybe_not_chest_xray.",
        metavar="FLAGS",
        parse=comma_list,
    )
    only: View | None = option(None, "Score only what the header calls a frontal view (PA or AP, in any spelling).")

    # What the table looks like.
    by: Level = option("image", "study adds a table with one row per study, frontal views aggregated.")
    study_aggregate: Aggregate = option("mean", "How --by study joins the views' probabilities.", panel=ADVANCED)
    pseudonymise: bool = option(False, "Replace paths and UIDs in the table by keyed digests.")
    pseudonym_key: Path | None = option(
        None,
        "Key of --pseudonymise; default: the user's own, made at first use. Keep it secret, and keep it.",
        metavar="FILE",
        panel=ADVANCED,
        recorded=False,
    )
    format: TableFormat | None = option(None, "Of the table; default: by the suffix of --out.", panel=ADVANCED)
    long: bool = option(False, "One row per image and label.", panel=ADVANCED)
    scores: bool = option(False, "Add the two cosines behind each probability.", panel=ADVANCED)
    shard: Shard | None = option(
        None,
        "Read only part K of N, for job arrays; cxrzero merge joins the tables.",
        metavar="K/N",
        parse=parse_shard,
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
