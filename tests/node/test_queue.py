"""The node's queue: what it was told is there afterwards, once, whatever happened in between."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from cxrzero.errors import NoInputError, RunError, WriteError
from cxrzero.node.outbox import DELIVERED, REPORTED, SCORED, UNREPORTED, Letter
from cxrzero.node.queue import Queue, Result

RUN = 1
AT = "2026-11-27T12:00:00.000+00:00"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def receive(queue: Queue, number: int, study: str = "1.2", digest: str = "") -> bool:
    digest = digest or f"{number:064x}"
    return queue.received(digest, study, "1.3", f"1.4.{number}", "1.5", "1.2.840.10008.1.2.1", 10, digest)


def score(queue: Queue, study: str = "1.2", code: str = "") -> None:
    queue.scored([Result(each.id, "", code) for each in queue.to_score(study)], RUN)


def test_what_was_received_outlives_the_process(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    assert receive(queue, 1)
    # not closed: as a process that is killed leaves it
    with Queue(tmp_path, must_exist=True) as again:
        [known] = again.to_score("1.2")
        assert (known.file, known.sop_instance, known.state) == (f"{1:064x}", "1.4.1", "received")
        assert again.waiting() == 1
    queue.close()


def test_the_file_is_synchronised_at_every_step(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        assert queue.durable.rows("PRAGMA synchronous") == [(2,)]  # FULL
        assert queue.durable.rows("PRAGMA journal_mode") == [("wal",)]


def test_an_object_is_known_by_uid_and_content(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        assert receive(queue, 1)
        assert not receive(queue, 1)
        assert receive(queue, 1, digest="f" * 64)
        score(queue)
        assert not receive(queue, 1)
        assert queue.waiting() == 0


def test_an_object_that_failed_may_come_again(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        score(queue, code="truncated")
        [dead] = queue.dead()
        assert (dead.code, dead.sop_instance) == ("truncated", "1.4.1")
        assert receive(queue, 1)
        assert queue.dead() == []
        assert queue.waiting() == 1


def test_a_study_is_quiet_by_a_clock_that_does_not_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with Queue(tmp_path, clock=clock) as queue:
        receive(queue, 1)
        monkeypatch.setattr(time, "time", lambda: 4e9)  # the machine's clock runs forward by decades
        assert queue.quiet(30) == []
        clock.now += 20
        receive(queue, 2)
        clock.now += 20
        assert queue.quiet(30) == []  # the second object began the wait anew
        monkeypatch.setattr(time, "time", lambda: 0.0)
        clock.now += 10
        assert queue.quiet(30) == ["1.2"]
    clock.now = 0.0  # the machine was started again: its clock begins at 0
    with Queue(tmp_path, clock=clock) as queue:
        assert queue.quiet(30) == []
        clock.now += 30
        assert queue.quiet(30) == ["1.2"]


def test_who_has_waited_longest_comes_first(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        for number, study in enumerate(("1.9", "1.1", "1.5", "1.9")):
            receive(queue, number, study)
        assert queue.quiet(0) == ["1.9", "1.1", "1.5"]


def test_a_study_is_closed_once_and_again_for_what_comes_later(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        assert queue.complete() == []
        score(queue)
        assert queue.complete() == ["1.2"]
        queue.close_studies(["1.2"], AT, 7)
        assert queue.complete() == []
        receive(queue, 2)
        assert queue.complete() == []
        score(queue)
        assert queue.complete() == ["1.2"]
        queue.close_studies(["1.2"], AT, 9)
        first, second = queue.outbox.reports(SCORED)
        assert [each.sop_instance for each in queue.found_in("1.2", first)] == ["1.4.1"]
        assert [each.sop_instance for each in queue.found_in("1.2", second)] == ["1.4.1", "1.4.2"]
        assert queue.durable.note("line_end") == 9


def test_runs_that_do_the_same_are_one(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        first = queue.begin_run({"started": "today", "ended": None, "model": "a"})
        assert queue.begin_run({"started": "later", "ended": None, "model": "a"}) == first
        assert queue.begin_run({"started": "today", "ended": None, "model": "b"}) != first
        assert queue.record(first) == {"model": "a"}


def test_several_reports_of_one_closing(tmp_path: Path) -> None:
    """Each has its row; what is about the study stays as it was when it was closed."""
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        score(queue)
        queue.close_studies(["1.2"], AT, 0)
        receive(queue, 2)
        score(queue)
        queue.close_studies(["1.2"], AT, 0)
        first, later = queue.outbox.reports(SCORED)
        letters = [Letter(f"{n}.dcm", "1.9", f"1.8.{n}") for n in range(2)]
        queue.outbox.written(first, letters, {})
        one, two = queue.outbox.reports(REPORTED)
        assert (one.file, two.file, two.closing) == ("0.dcm", "1.dcm", first.id)
        assert [each.sop_instance for each in queue.found_in("1.2", two)] == ["1.4.1"]
        queue.outbox.unwritten(two)
        [again] = [each for each in queue.outbox.reports(SCORED) if each.id == two.id]
        queue.outbox.written(again, letters, {})
        assert [each.sop_instance for each in queue.outbox.reports(REPORTED)] == ["1.8.0", "1.8.1"]
        assert queue.outbox.number_before(later) == 2


def test_attempts_are_counted_before_they_are_made(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    receive(queue, 1)
    queue.begin(queue.to_score("1.2"))
    queue.begin(queue.to_score("1.2"))  # after an error that was no film's: still the same attempt
    assert [each.attempts for each in queue.to_score("1.2")] == [1]
    queue.crashed(queue.to_score("1.2"))
    queue.begin(queue.to_score("1.2"))
    assert [(each.attempts, each.crashes) for each in queue.to_score("1.2")] == [(2, 1)]
    with Queue(tmp_path) as again:  # the process was killed
        again.begin(again.to_score("1.2"))
        assert [each.attempts for each in again.to_score("1.2")] == [3]
        score(again)
        assert again.found_in("1.2")[0].attempts == 0
    queue.close()


def test_files_may_go_when_everything_about_their_study_is_over(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        assert queue.finished(is_sent=True) == []
        score(queue)
        assert queue.finished(is_sent=True) == []
        queue.close_studies(["1.2"], AT, 0)
        assert queue.finished(is_sent=False) == []
        [report] = queue.outbox.reports(SCORED)
        queue.outbox.written(report, [Letter("a.dcm", "1.9", "1.8.1")], {})
        assert queue.finished(is_sent=True) == []
        assert len(queue.finished(is_sent=False)) == 1
        queue.outbox.failed(report, "status_a900")
        assert queue.finished(is_sent=True) == []
        assert queue.outbox.requeue([report.id]) == 1
        queue.outbox.delivered(report)
        receive(queue, 2)  # a report of both may need the first one's header
        assert queue.finished(is_sent=True) == []
        score(queue, code="truncated")
        queue.close_studies(["1.2"], AT, 0)
        [report] = queue.outbox.reports(SCORED)
        queue.outbox.written(report, [], {})
        assert queue.outbox.counts() == {DELIVERED: 1, UNREPORTED: 1}
        assert [each.sop_instance for each in queue.finished(is_sent=True)] == ["1.4.1"]
        queue.removed(queue.finished(is_sent=True))
        assert [each.sop_instance for each in queue.stored()] == ["1.4.2"]  # a dead letter keeps its file
        assert queue.needs(f"{2:064x}")
        assert not queue.needs(f"{1:064x}")


def test_dead_letters_come_back(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        for number in (1, 2):
            receive(queue, number)
        score(queue, code="truncated")
        queue.close_studies(["1.2"], AT, 0)
        [report] = queue.outbox.reports(SCORED)
        queue.outbox.failed(report, "report_ValueError")
        with Queue(tmp_path, must_exist=True) as other:  # `listen --requeue`, beside the node
            assert other.requeue([1]) == 1
            assert other.outbox.requeue([report.id]) == 1
            assert other.outbox.requeue([report.id]) == 0
        assert [each.id for each in queue.to_score("1.2")] == [1]
        assert [each.id for each in queue.outbox.reports(SCORED)] == [report.id]
        score(queue)
        assert queue.complete() == ["1.2"]


def test_an_object_whose_file_is_gone_is_a_dead_letter(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        queue.lost(queue.stored())
        [dead] = queue.dead()
        assert (dead.code, dead.is_stored) == ("lost", False)
        assert queue.requeue([dead.id]) == 0  # it must be sent again
        assert receive(queue, 1)


def test_threads_write_at_once(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        threads = [
            threading.Thread(target=lambda n=n: [receive(queue, 10 * n + k, f"1.2.{n}") for k in range(10)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert queue.waiting() == 40
        assert len(queue.quiet(0)) == 4


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    with Queue(tmp_path) as queue:
        receive(queue, 1)
        pages = queue.durable.number("PRAGMA page_count")
        queue.durable.rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(WriteError, match="full"):
            sum(receive(queue, number) for number in range(2, 1000))
        known = queue.waiting()
        queue.durable.rows("PRAGMA max_page_count = 1000000")
        assert queue.waiting() == known
        assert receive(queue, 5000)


def test_files_that_are_no_queue(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="has no queue"):
        Queue(tmp_path / "nowhere", must_exist=True)
    (tmp_path / "queue.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match="is damaged"):
        Queue(tmp_path)
    newer = tmp_path / "newer"
    Queue(newer).close()
    with sqlite3.connect(newer / "queue.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RunError, match="newer cxrzero"):
        Queue(newer)


def test_the_folder_is_private(tmp_path: Path) -> None:
    Queue(tmp_path / "state").close()
    assert (tmp_path / "state").stat().st_mode & 0o77 == 0
    assert (tmp_path / "state" / "queue.sqlite").stat().st_mode & 0o77 == 0
