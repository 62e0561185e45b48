"""What `cxrzero listen` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.options import option


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """One `cxrzero listen`."""

    config: Path | None = option(None, "Run the node that this file describes.", short="-c", metavar="TOML")
    example: bool = option(False, "Print a commented file with every key.")
    status: bool = option(False, "Show what the node has received, scored, delivered and failed.")
    failed: bool = option(False, "List films and reports that were given up.")
    requeue: tuple[str, ...] = option(
        (), "Start again what --failed lists under this name, or all; may be given several times.", metavar="NAME"
    )
