"""What `cxrzero listen` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.options import option


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """One `cxrzero listen`."""

    config: Path | None = option(None, "The node's file, which says everything else.", metavar="TOML")
    example: bool = option(False, "Print a commented file with every key.")
    status: bool = option(False, "Show what the node has received, scored, delivered and failed.")
    failed: bool = option(False, "List what has failed.")
    requeue: str | None = option(
        None, "Try again what has failed: the numbers that --failed shows, or all.", metavar="NUMBERS"
    )
