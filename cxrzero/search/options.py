"""What `cxrzero search` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrzero.choices import DEFAULT_MODEL, DEVICES, CacheBy, Device, Invert, parse_device
from cxrzero.options import ADVANCED, argument, option


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """One `cxrzero search`; each field says what it is for."""

    words: tuple[str, ...] = argument(
        "[TEXT] [PATH...]", "Say what to look for, then name images, folders or @list.txt.", default=()
    )
    like: str | None = option(None, "Look for images like this one, without a TEXT.", metavar="IMAGE")
    top: int = option(20, "Show the N nearest images.", metavar="N", minimum=1, maximum=100_000)
    out: str | None = option(
        None,
        "Write the result to this table (.csv, .jsonl or .parquet); - is standard output.",
        short="-o",
        metavar="FILE",
    )
    embeddings: Path | None = option(
        None,
        "Look among the films whose embeddings cxrzero embed kept in this file; then without PATH.",
        metavar="FILE",
    )
    html: Path | None = option(
        None, "Write a contact sheet of the result: one page with its pictures in it.", metavar="FILE"
    )
    model: str = option(DEFAULT_MODEL, "Ask this model; see predict.", short="-m", metavar="MODEL")
    device: Device = option("auto", "Compute on this device; see predict.", metavar=DEVICES, check=parse_device)
    overwrite: bool = option(False, "Replace files that exist already.")
    invert: Invert = option("auto", "Invert every image or none; see predict.", panel=ADVANCED)
    cache_by: CacheBy = option(
        "path", "Find kept embeddings by the path of a film or by its content; see predict.", panel=ADVANCED
    )

    @property
    def paths(self) -> Sequence[str]:
        return self.words if self.like else self.words[1:]
