"""The node's queue: what has arrived, what became of it, and which reports are to be sent; one SQLite file.

An object is `received`, then `scored` or `failed`. When all objects of a study are, the study is closed: a report is
noted, `scored`, then `reported` (its file is written), then `delivered`; `failed` if it cannot be made or delivered.
Every step is one transaction on disk (WAL, synchronous FULL), so that a process that is killed loses nothing that it
has said. What is repeated after a kill gives the same: a report's time, its rows and the record of the run that scored
it are kept here.

Nothing here is told by the wall clock. How long a study has been quiet is measured by this process, and begins anew
when it starts: a clock that jumps closes no study early, and forgets none.

What this module does not know: DICOM, models, networks.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cxrzero.node.durable import Durable, add_to_note, note_error, set_note
from cxrzero.node.outbox import FAILED, REPORTED, SCORED, Outbox, Report

# An object's states: this, and SCORED or FAILED.
RECEIVED = "received"
# Of a run's record, what tells apart two runs that do the same.
TIMES = ("started", "ended")


@dataclass(frozen=True, slots=True)
class Object:
    """A DICOM object, or another file of the watched folder, that was received.

    Attributes:
        file: its name in `state/objects/`.
        study: its Study Instance UID; the digest where it states none: such a file is a study of its own.
        attempts: scorings that were begun and did not end, whatever ended them.
        crashes: those of them that ended the process that scores, and not the node.
        rows: what was found, as `cxrzero.node.rows` packs it; empty until it is scored.
        run: that scored it.
        report: the closing of its study that was the first to have it.
        patient: a pseudonym that tells patients of one study apart, once it was in a report.
        is_stored: whether the file is still there.
        source: the path that it had in the watched folder; "" of what was sent.
    """

    id: int
    file: str
    study: str
    series: str
    sop_instance: str
    sop_class: str
    digest: str
    state: str
    attempts: int
    crashes: int
    code: str
    rows: str
    run: int
    report: int
    patient: str
    is_stored: bool
    source: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an object: its rows packed, and the code of the failure where no frame of it could be read."""

    object: int
    rows: str
    code: str = ""


_COLUMNS = (
    "id, file, study, series, sop_instance, sop_class, digest, state, attempts, crashes, code, rows, run, report, "
    "patient, is_stored, source"
)


class Queue:
    """The queue of one state folder; used by several threads at once.

    Args:
        state: the node's folder, made private if it has to be made.
        must_exist: refuse to make a new queue.
        clock: seconds that never run back.

    Attributes:
        durable: the file.
        outbox: reports on their way.

    Raises: see `cxrzero.node.durable.Durable`.
    """

    def __init__(self, state: Path, *, must_exist: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.durable = Durable(state, must_exist=must_exist)
        self.outbox = Outbox(self.durable)
        self._clock = clock
        self._lock = threading.Lock()
        self._last_seen: dict[str, float] = {}  # study → when its last object came, by this process's clock
        self._begun: set[int] = set()  # objects whose attempt this process has counted

    # What the receiver asks.

    def received(
        self,
        file: str,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        sop_class_uid: str,
        transfer_syntax: str,
        size: int,
        digest: str,
        source: str = "",
    ) -> bool:
        """Note an object that lies whole on disk; once this returns, it is on disk here too.

        Args:
            source: the path that it had in the watched folder; "" of what was sent.

        Returns False for an object that is known, by SOP Instance UID and digest, whatever has become of it: its file
        is not needed again unless `needs` says so. One that had failed for good begins anew, and is True.

        Raises:
            WriteError: it cannot be noted; the sender must be told to come again.
        """
        study = study_instance_uid or digest
        with self.durable.writing() as write:
            known = write(
                "SELECT id, state FROM objects WHERE sop_instance = ? AND digest = ?", (sop_instance_uid, digest)
            ).fetchone()
            if known and known[1] != FAILED:
                return False
            with self._lock:  # before it can be found in the file, where `quiet` looks
                self._last_seen[study] = self._clock()
            if known:
                write(
                    "UPDATE objects SET state = ?, file = ?, attempts = 0, crashes = 0, code = '', report = NULL, "
                    "is_stored = 1 WHERE id = ?",
                    (RECEIVED, file, known[0]),
                )
            else:
                write(
                    "INSERT INTO objects (file, study, series, sop_instance, sop_class, transfer_syntax, size, digest, "
                    "state, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(file, study, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax),
                        *(size, digest, RECEIVED, source),
                    ),
                )
        return True

    def other_syntaxes(self, sop_instance_uid: str, digest: str) -> list[str]:
        """Transfer syntaxes in which an instance is known with another content, failed ones aside."""
        query = "SELECT transfer_syntax FROM objects WHERE sop_instance = ? AND digest != ? AND state != ?"
        return [syntax for (syntax,) in self.durable.rows(query, sop_instance_uid, digest, FAILED)]

    def waiting(self) -> int:
        """Objects that are not scored yet: what back-pressure is measured by."""
        return self.durable.number("SELECT count(*) FROM objects WHERE state = ?", RECEIVED)

    def needs(self, file: str) -> bool:
        """Whether a file of `state/objects/` is still wanted."""
        return bool(self.durable.number("SELECT count(*) FROM objects WHERE file = ? AND is_stored", file))

    def stored(self) -> list[Object]:
        """All whose files must lie on disk."""
        return self._objects("is_stored")

    def lost(self, objects: Iterable[Object]) -> None:
        """Their files are gone, unscored: dead letters."""
        with self.durable.writing() as write:
            for each in objects:
                code = "lost" if each.state == RECEIVED else each.code
                state = FAILED if each.state == RECEIVED else each.state
                write("UPDATE objects SET is_stored = 0, state = ?, code = ? WHERE id = ?", (state, code, each.id))
                note_error(write, "lost")

    # What scoring asks.

    def quiet(self, seconds: float) -> list[str]:
        """Studies with objects to score, of which none has come for so long; who has waited longest comes first."""
        now = self._clock()
        found = self.durable.rows("SELECT study FROM objects WHERE state = ? GROUP BY study ORDER BY min(id)", RECEIVED)
        with self._lock:
            seen = {study: self._last_seen.setdefault(study, now) for (study,) in found}
        return [study for study, at in seen.items() if now - at >= seconds]

    def to_score(self, study: str) -> list[Object]:
        return self._objects("study = ? AND state = ?", study, RECEIVED)

    def tried(self) -> list[Object]:
        """What was in a scoring that did not end, the least tried first."""
        found = self._objects("state = 'received' AND attempts > 0")  # as the index has it
        return sorted(found, key=lambda each: (each.crashes, each.attempts))

    def begin(self, objects: Sequence[Object]) -> None:
        """Count an attempt before it is made, so that it is on record whatever the machine does then.

        It is counted once, however often it is begun in this process, unless `crashed` says that it came to nothing.
        """
        new = {each.id for each in objects} - self._begun
        if new:
            with self.durable.writing() as write:
                for number in new:
                    write("UPDATE objects SET attempts = attempts + 1 WHERE id = ?", (number,))
            self._begun |= new

    def crashed(self, objects: Sequence[Object]) -> None:
        """The process that scores ended over these: the next attempt counts as another."""
        with self.durable.writing() as write:
            for each in objects:
                write("UPDATE objects SET crashes = crashes + 1 WHERE id = ?", (each.id,))
            note_error(write, "crashed")
        self._begun -= {each.id for each in objects}

    def scored(self, results: Sequence[Result], run: int, seconds: float = 0.0) -> None:
        """Keep what became of objects in a run, which took so many seconds."""
        with self.durable.writing() as write:
            for each in results:
                write(
                    "UPDATE objects SET state = ?, rows = ?, code = ?, run = ?, attempts = 0, crashes = 0 "
                    "WHERE id = ? AND state = ?",
                    (FAILED if each.code else SCORED, each.rows, each.code, run, each.object, RECEIVED),
                )
                note_error(write, each.code)
            add_to_note(write, "seconds", seconds)
            add_to_note(write, "films", len(results))
        self._begun -= {each.object for each in results}

    # Studies and what is reported of them.

    def begin_run(self, record: Mapping[str, Any]) -> int:
        """Keep the record of this process, but for its times; the number is that of an earlier one that is the same."""
        text = json.dumps({name: value for name, value in record.items() if name not in TIMES}, sort_keys=True)
        with self.durable.writing() as write:
            write("INSERT OR IGNORE INTO runs (record) VALUES (?)", (text,))
            return int(write("SELECT id FROM runs WHERE record = ?", (text,)).fetchone()[0])

    def record(self, run: int) -> dict[str, Any]:
        [[text]] = self.durable.rows("SELECT record FROM runs WHERE id = ?", run)
        return dict(json.loads(text))

    def complete(self) -> list[str]:
        """Studies that have objects no report knows yet, and none left to score."""
        found = self.durable.rows(
            "SELECT DISTINCT study FROM objects o WHERE report IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM objects w WHERE w.study = o.study AND w.state = ?)",
            RECEIVED,
        )
        return [study for (study,) in found]

    def found_in(self, study: str, report: Report | None = None) -> list[Object]:
        """What a report is about: the study's objects that it, or an earlier one, was the first to have.

        Without a report: what one would be about now.
        """
        if report is None:
            return self._objects("study = ? AND state != ?", study, RECEIVED)
        return self._objects("study = ? AND report <= ?", study, report.closing)

    def close_studies(self, studies: Sequence[str], scored_at: str, line_end: int) -> None:
        """Note that studies are scored: what is known of each now belongs to its report, which is to be written.

        Args:
            line_end: length of the file of studies with these studies' lines in it (`cxrzero.node.lines`).
        """
        with self.durable.writing() as write:
            for study in studies:
                number = write(
                    "INSERT INTO reports (study, scored_at, state) VALUES (?, ?, ?)",
                    (study, scored_at, SCORED),
                ).lastrowid
                write(
                    "UPDATE objects SET report = ? WHERE study = ? AND report IS NULL AND state != ?",
                    (number, study, RECEIVED),
                )
            set_note(write, "line_end", line_end)
        with self._lock:
            for study in studies:
                self._last_seen.pop(study, None)

    # Files that are not needed any more, and dead letters.

    def finished(self, *, is_sent: bool) -> list[Object]:
        """Objects whose files may go: scored, and every report of their study is delivered, or not to be.

        Args:
            is_sent: whether there is a peer; else reports are as far as they get when they are written.
        """
        return self._objects(
            "is_stored AND state = ? AND report IS NOT NULL AND NOT EXISTS (SELECT 1 FROM reports r WHERE "
            "r.study = objects.study AND (r.state IN (?, ?) OR (r.state = ? AND ?))) AND NOT EXISTS "
            "(SELECT 1 FROM objects n WHERE n.study = objects.study AND n.report IS NULL)",
            SCORED, SCORED, FAILED, REPORTED, is_sent,
        )  # fmt: skip

    def removed(self, objects: Sequence[Object]) -> None:
        """Their files are gone."""
        with self.durable.writing() as write:
            for each in objects:
                write("UPDATE objects SET is_stored = 0 WHERE id = ?", (each.id,))

    def dead(self) -> list[Object]:
        return self._objects("state = ?", FAILED)

    def requeue(self, numbers: Sequence[int]) -> int:
        """Put dead objects back whose files are there; returns how many. They begin anew, in a new report."""
        query = (
            "UPDATE objects SET state = ?, attempts = 0, crashes = 0, code = '', report = NULL "
            "WHERE id = ? AND state = ? AND is_stored"
        )
        with self.durable.writing() as write:
            return sum(write(query, (RECEIVED, number, FAILED)).rowcount for number in numbers)

    def counts(self) -> dict[str, int]:
        """State → number of objects."""
        return dict(self.durable.rows("SELECT state, count(*) FROM objects GROUP BY state"))

    def error(self, code: str) -> None:
        """Remember the last thing that went wrong, by a code without identities."""
        with self.durable.writing() as write:
            note_error(write, code)

    def close(self) -> None:
        self.durable.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _objects(self, where: str, *values: object) -> list[Object]:
        found = self.durable.rows(f"SELECT {_COLUMNS} FROM objects WHERE {where} ORDER BY id", *values)
        return [Object(*row) for row in found]
