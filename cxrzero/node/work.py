"""The working half of a node: what has arrived is scored, put into the database, reported and delivered.

One loop scores, closes studies and writes reports; another delivers, so that a peer that is down holds nothing up. Both
go from the queue and back into it, step by step: whatever ends them, they go on where the queue says.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cxrzero.choices import Notify, silent
from cxrzero.database import open_database
from cxrzero.errors import CxrzeroError, RunError
from cxrzero.node.config import NodeConfig
from cxrzero.node.deliver import Delivery, recipient_of
from cxrzero.node.lines import FILE_NAME as LINES
from cxrzero.node.lines import line_of, write_lines
from cxrzero.node.objects import Objects
from cxrzero.node.outbox import SCORED
from cxrzero.node.queue import Object, Queue, Result
from cxrzero.node.reporting import Reporting
from cxrzero.node.rows import pack, shown_path, unpack
from cxrzero.node.scoring import Scoring, ScoringDiedError
from cxrzero.prediction import Prediction

if TYPE_CHECKING:
    from cxrzero.database.store import Database

# Files that are scored together: enough to keep decoders and model busy, few enough to end soon after a stop.
AT_ONCE = 16
# A film that was in the process that scores when that crashed is scored alone from then on, so that no other is blamed,
# and after so many crashes it is a dead letter. Where the node itself ended meanwhile, most likely somebody killed it;
# but the film may have taken all memory: after SUSPECT_AFTER such ends it is scored alone, after ATTEMPTS given up.
CRASHES, SUSPECT_AFTER, ATTEMPTS = 3, 3, 10
# How long the loops rest when there is nothing to do.
REST_S = 0.2
# Of an error that is not a film's (a full disk, a database that is away): how long until the next try.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


class Work:
    """Objects → scores → reports.

    Args:
        config: of the node.
        queue: where everything is noted.
        scoring: the process that scores, with its model loaded.
        database, run: where rows go, and as part of which run.
        notify: is told of what goes wrong, without identities.
    """

    def __init__(
        self, config: NodeConfig, queue: Queue, scoring: Scoring, database: Database, run: int, notify: Notify = silent
    ) -> None:
        self._config, self._queue, self._scoring, self._database, self._run = config, queue, scoring, database, run
        self._notify = notify
        self._objects = Objects(config.objects)
        self._reporting = Reporting(queue, config, notify)
        self._record = queue.begin_run(scoring.record)
        self._tidied = -1  # the changes of the outbox that `tidy` has seen
        self._labels = dict.fromkeys(str(each["label"]) for each in scoring.record["prompts"])

    def step(self) -> bool:
        """Do what there is to do, a batch at most; returns whether there was anything.

        Raises:
            CxrzeroError: something is wrong that is not a film's; nothing is lost, and the step can be repeated.
        """
        objects = self._next()
        if objects:
            self._score(objects)
        studies = self._queue.complete()
        if studies:
            self._close(studies)
        reports = self._queue.outbox.reports(SCORED, AT_ONCE)
        for report in reports:
            self._reporting.write(report)
        return bool(objects or studies or reports)

    def tidy(self) -> bool:
        """Delete objects that are not needed any more; returns whether there were any."""
        changes = self._queue.outbox.changes
        if self._config.keep or changes == self._tidied:
            return False
        gone = self._queue.finished(is_sent=self._config.peer is not None)
        for each in gone:
            self._objects.delete(each.file)
        self._queue.removed(gone)
        self._tidied = changes
        return bool(gone)

    def _next(self) -> list[Object]:
        """What to score together: whole studies; but first, in smaller parts, what was in hand when a node ended.

        So a node that never lives as long as a batch takes gets on, too. Films that may have ended it come last, alone.
        """
        tried = self._queue.tried()
        again = [each for each in tried if not each.crashes and each.attempts < SUSPECT_AFTER]
        if again:
            least = again[0].attempts
            return [each for each in again if each.attempts == least][: max(1, AT_ONCE >> 2 * least)]
        found: list[Object] = []
        for study in self._queue.quiet(self._config.study_quiet_seconds):
            found += [each for each in self._queue.to_score(study) if not each.attempts]
            if len(found) >= AT_ONCE:
                break
        return found or tried[:1]

    def _score(self, objects: Sequence[Object]) -> None:
        first = objects[0]
        if first.crashes >= CRASHES or first.attempts >= ATTEMPTS:
            self._keep([(first, [self._crashed(first)])], 0.0)  # it is alone
            return
        self._queue.begin(objects)
        studies: dict[str, list[Object]] = {}
        for each in objects:
            studies.setdefault(each.study, []).append(each)
        started = time.perf_counter()
        try:
            scored = self._scoring.score([[str(self._objects.path(o.file)) for o in s] for s in studies.values()])
        except ScoringDiedError:
            self._queue.crashed(objects)
            raise
        pairs = [
            (each, rows)
            for of_study, found in zip(studies.values(), scored, strict=True)
            for each, rows in zip(of_study, found, strict=True)
        ]
        self._keep(pairs, time.perf_counter() - started)

    def _keep(self, scored: Sequence[tuple[Object, list[Prediction]]], seconds: float) -> None:
        """Into the database, then into the queue; the first knows what it has, if it has to be done again."""
        for each, rows in scored:
            for row in rows:
                row.path = shown_path(each)
        self._database.add(self._run, [row for _, rows in scored for row in rows])
        self._queue.scored([Result(each.id, pack(rows), _code(rows)) for each, rows in scored], self._record, seconds)

    def _crashed(self, suspect: Object) -> Prediction:
        error = "crashed: the process that scores ended again and again over this film"
        return Prediction(suspect.file, self._labels, "failed", error=error, code="crashed")

    def _close(self, studies: Sequence[str]) -> None:
        """Note studies as scored, with their lines and the time that their reports will have."""
        scored_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = []
        for study in studies:
            rows = [row for each in self._queue.found_in(study) for row in unpack(each.rows, shown_path(each))]
            lines.append(line_of(study, scored_at, rows))
        end = write_lines(self._config.state / LINES, int(self._queue.durable.note("line_end", 0)), lines)
        self._queue.close_studies(studies, scored_at, end)


def _code(rows: Sequence[Prediction]) -> str:
    """The code of the failure of an object of which nothing could be read; else nothing."""
    return "" if any(row.status != "failed" for row in rows) else next((row.code for row in rows), "no_rows")


def run(
    config: NodeConfig, queue: Queue, stop: threading.Event, notify: Notify = silent, ready: Notify = silent
) -> None:
    """Work until `stop` is set: then finish the batch that is in hand, and leave the rest in the queue.

    Args:
        ready: is told what there is to say of model and labels, once the model is loaded.

    Raises:
        CxrzeroError: what is asked for cannot be done: the model, the calibration, the database, the peer.
    """
    with ExitStack() as stack:
        recipient = recipient_of(config)
        scoring = stack.enter_context(Scoring(config))
        scoring.start()
        database = stack.enter_context(open_database(config.out))
        number = database.begin_run(scoring.record)
        work = Work(config, queue, scoring, database, number, notify)
        ready("\n".join(scoring.notices))
        loops = [Loop("work", lambda: work.step() or work.tidy(), queue, notify)]
        if recipient:
            loops.append(Loop("delivery", Delivery(queue, config, recipient, notify).step, queue, notify))
        _run_all(loops, stop)
        database.end_run(number, {**scoring.record, "ended": datetime.now(UTC).isoformat(timespec="milliseconds")})


class Loop:
    """A step, again and again.

    Args:
        step: does something and says whether there was anything to do.
    """

    def __init__(self, name: str, step: Callable[[], bool], queue: Queue, notify: Notify) -> None:
        self.name, self._step, self._queue, self._notify = name, step, queue, notify
        self.error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What goes wrong is said once, and tried again with growing pauses."""
        pause, said = FIRST_PAUSE_S, ""
        while not stop.is_set():
            try:
                is_busy = self._step()
            except CxrzeroError as error:
                if (text := str(error)) != said:
                    self._notify(text)
                    said = text
                self._note(error)
                stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            except BaseException as error:
                self.error = error  # not foreseen: the node ends, and says so
                stop.set()
                return
            pause, said = FIRST_PAUSE_S, ""
            if not is_busy:
                stop.wait(REST_S)

    def _note(self, error: CxrzeroError) -> None:
        try:
            self._queue.error(_code_of(error))
        except RunError:
            return  # the queue itself cannot be written: the message said so


def _code_of(error: CxrzeroError) -> str:
    """A word for it, since its own words may name files: ScoringDiedError is scoring_died."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()


def _run_all(loops: Sequence[Loop], stop: threading.Event) -> None:
    """All loops but the first in threads of their own.

    Raises: what a loop did not foresee.
    """
    threads = [threading.Thread(target=loop.run, args=(stop,), name=loop.name) for loop in loops[1:]]
    for thread in threads:
        thread.start()
    loops[0].run(stop)
    for thread in threads:
        thread.join()
    for loop in loops:
        if loop.error is not None:
            raise loop.error
