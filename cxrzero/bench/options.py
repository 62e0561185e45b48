"""What `cxrzero bench` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrzero.choices import DEFAULT_MODEL, DEVICES, Device, parse_device
from cxrzero.options import ADVANCED, argument, option


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """One `cxrzero bench`; each field says what it is for."""

    paths: tuple[str, ...] = argument(
        "[PATH...]", "Give your own images, folders or @list.txt; without any, films are drawn.", default=()
    )
    model: str = option(DEFAULT_MODEL, "Measure this model; see predict.", short="-m", metavar="MODEL")
    device: Device = option("auto", "Compute on this device; see predict.", metavar=DEVICES, check=parse_device)
    images: int = option(32, "Read at most N files.", metavar="N", minimum=1, maximum=10_000)
    format: Literal["text", "json"] = option("text", "Print the result in this form, on standard output.")
    seconds: float = option(
        4.0,
        "Measure each figure for about S seconds.",
        metavar="S",
        minimum=0.1,
        maximum=600,
        panel=ADVANCED,
    )
