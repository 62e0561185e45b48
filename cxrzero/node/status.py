"""How a node is doing: what its state folder says, and its dead letters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cxrzero.node.outbox import DELIVERED, FAILED, REPORTED, SCORED, UNREPORTED
from cxrzero.node.queue import RECEIVED, Queue


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Counts since the state folder was made.

    Attributes:
        received: objects, all of them.
        waiting: of these, those that are not scored yet.
        scored: those that are.
        failed: those that nothing could be read of: dead letters.
        reports_waiting: reports that are to be written or delivered; without a peer, all that are written.
        delivered: reports that the peer has.
        reports_failed: reports that could not be made or delivered: dead letters.
        unreported: closed studies of which there is nothing to report.
        seconds_per_film: of scoring, on average; None before the first.
        last_error: a code, or nothing; without identities.
    """

    received: int
    waiting: int
    scored: int
    failed: int
    reports_waiting: int
    delivered: int
    reports_failed: int
    unreported: int
    seconds_per_film: float | None
    last_error: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was given up, and waits for somebody to look at it.

    Attributes:
        name: such as "film-12" or "report-3", by which it is requeued.
        code: why.
        study, sop_instance: UIDs; of a report that was not made there is no second.
    """

    name: str
    code: str
    study: str
    sop_instance: str
    attempts: int


def status_of(state: Path) -> NodeStatus:
    """Read the state folder, whether or not a node is running.

    Raises:
        NoInputError: it has no queue.
        RunError: it cannot be read.
    """
    with Queue(state, must_exist=True) as queue:
        return status_of_queue(queue)


def status_of_queue(queue: Queue) -> NodeStatus:
    objects, reports = queue.counts(), queue.outbox.counts()
    films, seconds = queue.durable.note("films", 0), queue.durable.note("seconds", 0.0)
    return NodeStatus(
        received=sum(objects.values()),
        waiting=objects.get(RECEIVED, 0),
        scored=objects.get(SCORED, 0),
        failed=objects.get(FAILED, 0),
        reports_waiting=reports.get(SCORED, 0) + reports.get(REPORTED, 0),
        delivered=reports.get(DELIVERED, 0),
        reports_failed=reports.get(FAILED, 0),
        unreported=reports.get(UNREPORTED, 0),
        seconds_per_film=seconds / films if films else None,
        last_error=str(queue.durable.note("last_error", "")),
    )


def failed(state: Path) -> list[DeadLetter]:
    """The dead letters, films first. Raises what `status_of` raises."""
    with Queue(state, must_exist=True) as queue:
        films = [
            DeadLetter(f"film-{each.id}", each.code, each.study, each.sop_instance, each.attempts)
            for each in queue.dead()
        ]
        reports = [
            DeadLetter(f"report-{each.id}", each.code, each.study, each.sop_instance, each.attempts)
            for each in queue.outbox.reports(FAILED)
        ]
        return films + reports


def requeue(state: Path, names: Collection[str] = ()) -> int:
    """Put dead letters back into the queue, all or those of these names; a node that runs sees them at once.

    A film whose file is gone stays: it has to be sent again.

    Returns:
        How many were put back.

    Raises: what `status_of` raises.
    """
    chosen = [letter.name.split("-") for letter in failed(state) if not names or letter.name in names]
    with Queue(state, must_exist=True) as queue:
        films = queue.requeue([int(number) for kind, number in chosen if kind == "film"])
        return films + queue.outbox.requeue([int(number) for kind, number in chosen if kind == "report"])
