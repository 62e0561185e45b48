"""What `cxrzero table` is asked to do. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cxrzero.choices import Aggregate, Level, TableFormat
from cxrzero.errors import ConfigError
from cxrzero.options import ADVANCED, argument, option
from cxrzero.predict.options import read_labels


def parse_run(text: str) -> int | Literal["latest"]:
    """Read "3" or "latest".

    Raises:
        ConfigError: it is neither.
    """
    if text == "latest":
        return "latest"
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ConfigError(f"--run {text}: write the number of a run, or latest")
    return int(text)


@dataclass(frozen=True, slots=True)
class TableOptions:
    """One `cxrzero table`; each field says what it is for."""

    source: str = argument(
        "SOURCE", "Give a database of results (a file or a URL), or with --by study a finished table of predictions."
    )
    out: str = option(
        "predictions.csv",
        "Write the table to this file (.csv, .jsonl or .parquet); - is standard output.",
        short="-o",
        metavar="FILE",
    )
    overwrite: bool = option(False, "Replace a table that exists already.")
    run: int | Literal["latest"] | None = option(
        None,
        "Take the rows of this run alone, a number or latest; by default of each film those of the newest run.",
        metavar="N|latest",
        parse=parse_run,
    )
    model: str | None = option(
        None,
        "Take the scores of this model: its name, or the first digits of its fingerprint.",
        short="-m",
        metavar="MODEL",
    )
    labels: tuple[str, ...] | None = option(
        None, "Write these labels, in this order; by default all.", metavar="LIST", parse=read_labels
    )
    by: Level = option("image", "Write one row per image, or one per study, its frontal views joined.")
    study_aggregate: Aggregate = option(
        "mean", "Join the probabilities of a study's views in this way, with --by study.", panel=ADVANCED
    )
    format: TableFormat | None = option(
        None, "Write the table in this format; by default the suffix of --out decides.", panel=ADVANCED
    )
    long: bool = option(False, "Write one row per image and label, as predict --long does.", panel=ADVANCED)
