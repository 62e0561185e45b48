"""Contents that are fetched before they are asked for: many at once, in order, and as many as bounded memory holds."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cxrzero.archive.limits import stopped
from cxrzero.remote.service import STORE

# Counted for an object whose size nobody states, until it is here.
GUESSED_BYTES = 16 * 2**20


class FetchAhead:
    """Fetches what is expected, in the order in which it is; what was fetched waits here until it is taken.

    The oldest one is fetched however large it is, so that whoever takes them in order never waits for ever.

    Args:
        requests: at once.
        most_bytes: of what is fetched or being fetched, and not yet taken.
    """

    def __init__(self, requests: int, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(requests, thread_name_prefix="fetch")
        self._lock = threading.Lock()
        self._waiting: deque[_Expected] = deque()
        self._expected: defaultdict[str, deque[_Expected]] = defaultdict(deque)
        self._unfinished: set[_Expected] = set()
        self._held = 0

    def expect(self, name: str, size: int | None, fetch: Callable[[], bytes]) -> None:
        """Have something fetched as soon as there is room for it."""
        with self._lock:
            new = _Expected(fetch, GUESSED_BYTES if size is None else size)
            self._expected[name].append(new)
            self._waiting.append(new)
            self._unfinished.add(new)
            self._start()

    def take(self, name: str) -> bytes | None:
        """The content; None where it was not expected. Raises what fetching it raised."""
        with self._lock:
            queue = self._expected.get(name)
            if not queue:
                return None
            taken = queue.popleft()
            if not queue:
                del self._expected[name]
        try:
            return taken.content.result()
        finally:
            with self._lock:
                self._held -= taken.size
                self._unfinished.discard(taken)
                self._start()

    def close(self) -> None:
        """Drop what was not taken; whoever waits for some of it is told that the run is over."""
        with self._lock:
            left = list(self._unfinished)
            self._waiting.clear()
            self._expected.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for each in left:
            each.drop()

    def _start(self) -> None:
        """Begin with those for which there is room; the lock is held."""
        while self._waiting and (not self._held or self._held + self._waiting[0].size <= self._most_bytes):
            begun = self._waiting.popleft()
            self._held += begun.size
            self._pool.submit(begun.run)


class _Expected:
    """One content, and what it is counted for."""

    def __init__(self, fetch: Callable[[], bytes], size: int) -> None:
        self._fetch, self.size = fetch, size
        self.content: Future[bytes] = Future()

    def drop(self) -> None:
        if not self.content.done():
            self.content.set_exception(stopped(STORE))

    def run(self) -> None:
        try:
            self.content.set_result(self._fetch())
        except BaseException as error:  # raised by who takes it
            self.content.set_exception(error)
