"""Reports go to the peer, again and again until it has them: back-off, jitter, and dead letters.

How long to wait is measured by a clock that never jumps, and counted from the attempts that the queue has on record: a
node that starts again tries at once, and if that fails goes on as patiently as before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing

from cxrzero.choices import Notify, silent
from cxrzero.errors import MissingExtraError
from cxrzero.node.config import NodeConfig, Retries
from cxrzero.node.outbox import REPORTED, Report
from cxrzero.node.queue import Queue
from cxrzero.node.recipient import Answer, PeerDownError, Recipient

# Of each wait a random part of up to a half is left out, so that nodes that lost the same archive do not come back all
# at once.
LEAST_OF_WAIT = 0.5
# Reports of one association.
AT_ONCE = 50


class Delivery:
    """The reports of a queue on their way to a peer.

    Args:
        queue: where they are noted.
        config: where they lie, how long to wait after a failure, and after how many a report is a dead letter.
        recipient: who takes them.
        notify: is told when the peer goes away and comes back, and of warnings and dead letters.
        clock: seconds that never run back.
    """

    def __init__(
        self,
        queue: Queue,
        config: NodeConfig,
        recipient: Recipient,
        notify: Notify = silent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._recipient = queue, recipient
        self._folder, self._retries, self._keep = config.reports, config.retries, config.keep
        self._notify, self._clock = notify, clock
        self._peer_due = clock()
        self._due: dict[int, float] = {}  # report → when it may be tried again
        self._failures = 0  # of the peer, in a row
        self._is_fresh = True  # no failure was seen by this process: those before count by their reports' attempts

    def step(self) -> bool:
        """Send what is due; returns whether there was anything.

        Raises:
            RunError: the queue cannot be written; what was sent and could not be noted is sent again.
        """
        now = self._clock()
        if now < self._peer_due:
            return False
        waiting = self._queue.outbox.reports(REPORTED)
        due = [report for report in waiting if self._due.get(report.id, now) <= now]
        due.sort(key=lambda report: report.attempts)  # one over which the peer always ends lets the others go first
        due = [report for report in due[:AT_ONCE] if self._is_there(report)]
        if not due:
            return False
        left = list(due)
        try:
            with closing(self._recipient.send([self._folder / report.file for report in due])) as answers:
                for answer in answers:
                    self._note(left.pop(0), answer)
        except PeerDownError as error:
            self._note_down(left[0], error.code, most=max(report.attempts for report in waiting))
            return True
        self._note_up()
        return True

    def _is_there(self, report: Report) -> bool:
        """Whether the report's file is; if somebody deleted it, it is made again, the same."""
        if (self._folder / report.file).is_file():
            return True
        self._queue.outbox.unwritten(report)
        return False

    def _note(self, report: Report, answer: Answer) -> None:
        self._due.pop(report.id, None)
        if answer.is_stored:
            self._queue.outbox.delivered(report, answer.code)
            if not self._keep:
                (self._folder / report.file).unlink(missing_ok=True)
            if answer.code:
                self._notify(f"the peer stored report {report.sop_instance} with a warning ({answer.code})")
            return
        self._failed_once(report, answer.code)
        self._due[report.id] = self._clock() + wait_s(self._retries, report.attempts)

    def _note_up(self) -> None:
        if self._failures:
            self._notify("the peer takes reports again")
        self._failures = 0

    def _note_down(self, report: Report, code: str, most: int) -> None:
        """The peer is left alone for a while; `most` are the attempts of the report that has most of them."""
        if not self._failures:
            self._notify(f"the peer does not take reports ({code}); they are kept and tried again")
            self._failures = most if self._is_fresh else 0
        self._is_fresh = False
        self._failed_once(report, code)
        self._peer_due = self._clock() + wait_s(self._retries, self._failures)
        self._failures += 1

    def _failed_once(self, report: Report, code: str) -> None:
        self._queue.outbox.attempted(report, code)
        if report.attempts + 1 >= self._retries.tries:
            self._due.pop(report.id, None)
            self._queue.outbox.failed(report, code)
            self._notify(f"report {report.sop_instance} is given up after {report.attempts + 1} attempts ({code})")


def recipient_of(config: NodeConfig) -> Recipient | None:
    """The peer of a node's configuration, if it has one.

    Raises:
        ConfigError: a file of [peer.tls] cannot be read, or is not what it should be.
        MissingExtraError: what speaks to it is not installed.
    """
    if config.peer is None:
        return None
    try:
        if config.peer.stow:
            from cxrzero.node.stow import StowRecipient

            return StowRecipient(config.peer)
        from cxrzero.node.cstore import StoreRecipient

        return StoreRecipient(config.ae_title, config.peer)
    except ImportError as error:
        raise MissingExtraError(str(error.name), "pacs") from error


def wait_s(retries: Retries, attempts: int) -> float:
    """How long to wait after an attempt that had so many before it."""
    longest: float = min(retries.longest, retries.first * 2.0 ** min(attempts, 64))
    return longest * random.uniform(LEAST_OF_WAIT, 1.0)
