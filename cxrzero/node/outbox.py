"""Reports of a node on their way to its peer: which are to be written, which to be sent, and which nobody takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxrzero.node.durable import Durable, note_error

# A report's states. There is none where nothing can be reported, or no peer is configured: its study is "unreported".
SCORED, REPORTED, DELIVERED, FAILED, UNREPORTED = "scored", "reported", "delivered", "failed", "unreported"


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be sent of a closed study: one report, or one of several.

    Attributes:
        closing: the report that was noted when the study was closed; itself, unless several were made of it.
        scored_at: when the study was closed, ISO 8601 in UTC; the time in the report.
        file: its name in `state/reports/`, once it is written.
        attempts: deliveries that were tried.
        code: of the last thing that went wrong with it.
    """

    id: int
    closing: int
    study: str
    scored_at: str
    state: str
    file: str
    sop_class: str
    sop_instance: str
    attempts: int
    code: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A report's file, in the folder of reports, and what it is."""

    file: str
    sop_class: str
    sop_instance: str


_COLUMNS = "id, coalesce(closing, id), study, scored_at, state, file, sop_class, sop_instance, attempts, code"


class Outbox:
    """The reports in the queue's file.

    Attributes:
        changes: how often this process has noted a report as written or delivered; then files may have become needless.
    """

    def __init__(self, durable: Durable) -> None:
        self._durable = durable
        self.changes = 0

    def reports(self, state: str, at_most: int = -1) -> list[Report]:
        query = f"SELECT {_COLUMNS} FROM reports WHERE state = ? ORDER BY id LIMIT ?"
        return [Report(*row) for row in self._durable.rows(query, state, at_most)]

    def written(self, report: Report, letters: Sequence[Letter], patients: Mapping[int, str]) -> None:
        """What there is to send of a closed study is on disk: nothing, one report, or several.

        One that is written again, because its file was gone, is among them.

        Args:
            patients: object → pseudonym of its patient.
        """
        if report.sop_instance:
            letters = [letter for letter in letters if letter.sop_instance == report.sop_instance]
        with self._durable.writing() as write:
            if not letters:
                write("UPDATE reports SET state = ? WHERE id = ?", (UNREPORTED, report.id))
            for number, letter in enumerate(letters):
                what = (REPORTED, letter.file, letter.sop_class, letter.sop_instance)
                if number == 0:
                    write(
                        "UPDATE reports SET state = ?, file = ?, sop_class = ?, sop_instance = ? WHERE id = ?",
                        (*what, report.id),
                    )
                else:
                    write(
                        "INSERT INTO reports (state, file, sop_class, sop_instance, closing, study, scored_at) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (*what, report.closing, report.study, report.scored_at),
                    )
            for number, patient in patients.items():
                write("UPDATE objects SET patient = ? WHERE id = ?", (patient, number))
        self.changes += 1

    def unwritten(self, report: Report) -> None:
        """The report's file is gone: it is to be written again."""
        with self._durable.writing() as write:
            write("UPDATE reports SET state = ?, file = '' WHERE id = ? AND state = ?", (SCORED, report.id, REPORTED))

    def attempted(self, report: Report, code: str) -> None:
        """A delivery did not succeed, and is to be tried again."""
        with self._durable.writing() as write:
            write("UPDATE reports SET attempts = attempts + 1, code = ? WHERE id = ?", (code, report.id))
            note_error(write, code)

    def delivered(self, report: Report, warning: str = "") -> None:
        """The peer has it, and may have warned of something."""
        with self._durable.writing() as write:
            write("UPDATE reports SET state = ?, code = ? WHERE id = ?", (DELIVERED, warning, report.id))
        self.changes += 1

    def failed(self, report: Report, code: str) -> None:
        """It cannot be made, or nobody takes it: a dead letter."""
        with self._durable.writing() as write:
            write("UPDATE reports SET state = ?, code = ? WHERE id = ?", (FAILED, code, report.id))
            note_error(write, code)

    def requeue(self, numbers: Sequence[int]) -> int:
        """Put dead letters back: to be sent if they are written, else to be written; returns how many."""
        query = (
            "UPDATE reports SET state = CASE file WHEN '' THEN ? ELSE ? END, attempts = 0, code = '' "
            "WHERE id = ? AND state = ?"
        )
        with self._durable.writing() as write:
            return sum(write(query, (SCORED, REPORTED, number, FAILED)).rowcount for number in numbers)

    def counts(self) -> dict[str, int]:
        """State → number."""
        return dict(self._durable.rows("SELECT state, count(*) FROM reports GROUP BY state"))

    def is_said(self, sop_instance: str, report: Report) -> bool:
        """Whether another report is the same object."""
        query = "SELECT count(*) FROM reports WHERE sop_instance = ? AND id != ?"
        return bool(self._durable.number(query, sop_instance, report.id))

    def number_before(self, report: Report) -> int:
        """How many reports earlier closings of its study gave."""
        query = "SELECT count(*) FROM reports WHERE study = ? AND coalesce(closing, id) < ? AND sop_instance != ''"
        return self._durable.number(query, report.study, report.closing)

    def is_wanted(self, file: str, *, delivered: bool) -> bool:
        """Whether a file of `state/reports/` is that of a report; of one that is delivered, if so asked."""
        query = "SELECT count(*) FROM reports WHERE file = ? AND (state != ? OR ?)"
        return bool(self._durable.number(query, file, DELIVERED, delivered))
