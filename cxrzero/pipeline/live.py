"""What a run has done so far, for a display to read while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cxrzero.pipeline.items import RunStats
from cxrzero.sources import WalkCounts


@dataclass(slots=True)
class Live:
    """Filled while the run goes on.

    Attributes:
        stats: rows by status, seconds of each leg.
        walk: files found and ignored.
        total: files to read; None while nobody has counted them.
    """

    stats: RunStats = field(default_factory=RunStats)
    walk: WalkCounts = field(default_factory=WalkCounts)
    total: int | None = None


OnRow = Callable[[Live], None]
