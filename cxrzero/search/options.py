"""What `cxrzero search` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import DEFAULT_MODEL, Device, Invert
from cxrzero.options import ADVANCED, argument, option


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """One `cxrzero search`; each field says what it is for."""

    words: tuple[str, ...] = argument("[TEXT] PATH...", "What to look for, then images, folders or @list.txt.")
    like: str | None = option(None, "Look for images like this one; then no TEXT is given.", metavar="IMAGE")
    top: int = option(20, "How many images to show.", metavar="N", minimum=1, maximum=100_000)
    out: str | None = option(
        None,
        "A table of the result, .csv, .jsonl or .parquet; - is standard output.",
        short="-o",
        metavar="FILE",
    )
    html: Path | None = option(None, "A contact sheet in one file.", metavar="FILE")
    model: str = option(DEFAULT_MODEL, "As in predict.", short="-m", metavar="MODEL")
    device: Device = option("auto", "As in predict.")
    overwrite: bool = option(False, "Replace files that exist already.")
    invert: Invert = option("auto", "As in predict.", panel=ADVANCED)

    @property
    def paths(self) -> Sequence[str]:
        return self.words if self.like else self.words[1:]
