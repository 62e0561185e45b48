"""Images per second and processor time of an action that is repeated for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

MIN_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast something goes.

    Attributes:
        images_per_second: by the clock on the wall.
        core_ms: milliseconds of processor time for one image, over all threads of this process and of those that it
            started.
    """

    images_per_second: float
    core_ms: float


def measure(action: Callable[[], object], images: int, seconds: float) -> Rate:
    """Repeat `action`, which handles `images` images, for `seconds` and at least three times; the best counts.

    The best, because everything else that runs on a machine can only slow an action down. One call beforehand, which
    loads and warms what there is, is not counted.
    """
    action()
    ends = time.perf_counter() + seconds
    rates: list[Rate] = []
    while len(rates) < MIN_REPEATS or time.perf_counter() < ends:
        rates.append(once(action, images))
    return Rate(max(rate.images_per_second for rate in rates), min(rate.core_ms for rate in rates))


def once(action: Callable[[], object], images: int) -> Rate:
    """The rate of a single call."""
    wall, busy = time.perf_counter(), _processor_seconds()
    action()
    wall, busy = time.perf_counter() - wall, _processor_seconds() - busy
    return Rate(images / wall, 1000 * busy / images)


def _processor_seconds() -> float:
    """Processor seconds of this process, and of those that it started and that are over."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
