"""How long a server is waited for, how often it is asked again, and how much of it is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cxrzero.errors import ArchiveError, ImageError, RunError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom is asked, as errors have it.

    Attributes:
        who: in sentences.
        codes: of errors begin so: archive_error.
        absent: the code of what it does not have.
        error: what ends the run.
    """

    who: str = "the archive"
    codes: str = "archive"
    absent: str = "not_in_archive"
    error: type[RunError] = ArchiveError


ARCHIVE = Peer()
# RFC 9110 and RFC 6585: timeout, too many requests, server trouble, gateway trouble, overload.
AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that have no option.

    Attributes:
        requests: at most at once.
        connect_s, read_s: until there is a connection; until it says something more.
        whole_s: for one answer, however it trickles.
        tries: of a request that may succeed later.
        wait_s: before the second try; doubled for each further one.
        longest_wait_s: of any wait. An archive that asks for more (Retry-After) is not asked again.
        failures: in a row, of an archive that does not answer, after which the run ends.
        object_bytes: of one film; one of 43 cm has 37 MB.
        listing_bytes: of one page of a listing.
        page: results that are asked for at once.
        studies: of one query; their UIDs are held in memory, a hundred bytes each.
    """

    requests: int = 4
    connect_s: float = 10
    read_s: float = 30
    whole_s: float = 300
    tries: int = 5
    wait_s: float = 1
    longest_wait_s: float = 60
    failures: int = 20
    object_bytes: int = 256 * 2**20
    listing_bytes: int = 32 * 2**20
    page: int = 500
    studies: int = 1_000_000


class TransientError(ImageError):
    """What may be over soon.

    Args:
        wait_s: that the archive asks for; None where it does not say.
        is_absence: whether nobody answered, as when the archive is down.
    """

    def __init__(self, code: str, message: str, wait_s: float | None = None, *, is_absence: bool = False) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s
        self.is_absence = is_absence


class Patience:
    """Asks again, with growing waits, and gives up on a server that does not answer at all.

    Args:
        name: of the server, for messages.
        peer: what it is.
    """

    def __init__(self, limits: Limits, name: str, stop: threading.Event, peer: Peer = ARCHIVE) -> None:
        self._limits, self._name, self._stop, self._peer = limits, name, stop, peer
        self._absent = 0

    def __call__(self, request: Callable[[], T]) -> T:
        """What the request returns.

        Raises:
            ImageError: its own, of the last try.
            ArchiveError (or the peer's): nobody has answered for long, or the run is over.
        """
        for number in range(self._limits.tries):
            if self._stop.is_set():
                raise stopped(self._peer)
            try:
                found = request()
            except TransientError as error:
                wait = self._wait(number, error)
                if wait is None:
                    self._count(error)
                    raise ImageError(error.code, error.message) from None
                if self._stop.wait(wait):
                    raise stopped(self._peer) from None
                continue
            self._absent = 0
            return found
        raise AssertionError("the last try returns or raises")

    def _wait(self, number: int, error: TransientError) -> float | None:
        """Seconds until the next try; None: there is none."""
        asked = self._limits.wait_s * 2**number if error.wait_s is None else error.wait_s
        return None if number + 1 == self._limits.tries or asked > self._limits.longest_wait_s else asked

    def _count(self, error: TransientError) -> None:
        self._absent = self._absent + 1 if error.is_absence else 0
        if self._absent >= self._limits.failures:
            raise self._peer.error(
                f"{self._name} has not answered {self._absent} requests in a row ({error.message}); "
                "when it is back, run the same command again: what was embedded is not fetched again"
            ) from None


def stopped(peer: Peer = ARCHIVE) -> RunError:
    return peer.error("the run was stopped")
