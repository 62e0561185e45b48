"""What a node says while it runs, sparingly: a peer must not be able to fill a log by being refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cxrzero.choices import Notify

SECONDS_BETWEEN = 60.0
# Different sentences that are remembered; they may hold AE titles, of which a hostile peer has many.
MOST = 1000


class Remarks:
    """Passes a sentence on; the same again at most once a minute, then with how often it was not said.

    Args:
        notify: told.
        clock: seconds that never run back.
    """

    def __init__(self, notify: Notify, clock: Callable[[], float] = time.monotonic) -> None:
        self._notify, self._clock = notify, clock
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # sentence → when it was said, how often not since

    def __call__(self, sentence: str) -> None:
        """Say it, or count it."""
        with self._lock:
            now = self._clock()
            at, unsaid = self._said.pop(sentence, (None, 0))
            is_due = at is None or now - at >= SECONDS_BETWEEN
            self._said[sentence] = (now, 0) if is_due or at is None else (at, unsaid + 1)
            while len(self._said) > MOST:
                del self._said[next(iter(self._said))]
        if is_due:
            self._notify(f"{sentence} ({unsaid:,} times more before)" if unsaid else sentence)
