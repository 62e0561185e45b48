"""What `cxrzero bench` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrzero.choices import DEFAULT_MODEL, Device
from cxrzero.options import ADVANCED, argument, option


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """One `cxrzero bench`; each field says what it is for."""

    paths: tuple[str, ...] = argument(
        "[PATH...]", "Your own images, folders or @list.txt; without any, films are drawn.", default=()
    )
    model: str = option(DEFAULT_MODEL, "As in predict.", short="-m", metavar="MODEL")
    device: Device = option("auto", "As in predict.")
    images: int = option(32, "Files to read at most.", metavar="N", minimum=1, maximum=10_000)
    format: Literal["text", "json"] = option("text", "How the result is printed, on standard output.")
    seconds: float = option(
        4.0,
        "For about how long each figure is measured.",
        metavar="S",
        minimum=0.1,
        maximum=600,
        panel=ADVANCED,
    )
