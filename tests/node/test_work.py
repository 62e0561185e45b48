"""From objects to reports: the numbers of `predict`, whole studies, and steps that can be repeated."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cxrzero import Screener
from cxrzero.errors import RunError, WriteError
from cxrzero.node.config import NodeConfig
from cxrzero.node.outbox import DELIVERED, FAILED, REPORTED, SCORED, UNREPORTED
from cxrzero.node.queue import Object, Queue
from cxrzero.node.rows import unpack
from cxrzero.node.scoring import ScoringDiedError
from cxrzero.node.work import ATTEMPTS, CRASHES, Loop
from cxrzero.prediction import Prediction
from tests.support.bundle import write_bundle
from tests.support.working import CRASH, NAME, NUMBER, Node, broken_film, config_of, film, probabilities


class KilledError(BaseException):
    """As kill -9 does: nothing after it happens."""


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path) -> NodeConfig:
    return config_of(tmp_path, tiny_bundle)


@pytest.fixture
def node(config: NodeConfig) -> Any:
    node = Node(config)
    yield node
    node.close()


def rows_in(config: NodeConfig, table: str) -> int:
    import sqlite3

    with sqlite3.connect(config.out) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return int(found)


def test_scores_are_those_of_predict(node: Node, tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for seed in range(5):
        (folder / f"{seed}.dcm").write_bytes(film(seed, f"2.25.{seed // 2}"))
    node.receive(*(path.read_bytes() for path in sorted(folder.iterdir())))
    node.turn()
    expected = {row.facts.sop_instance_uid: row.scores for row in Screener(tiny_bundle, cache=False).predict(folder)}
    kept = [row for each in node.objects for row in _rows(each)]
    assert {row.facts.sop_instance_uid: row.scores for row in kept} == expected  # to the last bit
    reported = {uid: each for report in node.reports for uid, each in probabilities(report).items()}
    assert reported.keys() == expected.keys()
    for uid, scores in expected.items():
        assert reported[uid] == pytest.approx(scores, abs=1e-6)
    assert node.scoring.batches == [5]
    assert len(node.reports) == 3


def _rows(each: Object) -> list[Prediction]:
    return unpack(each.rows, each.file)


def test_equal_pictures_are_duplicates_within_their_study_only(node: Node) -> None:
    pixels = bytes(range(256)) * 12
    node.receive(film(1, "2.25.1", pixels=pixels), film(2, "2.25.1", pixels=pixels), film(3, "2.25.2", pixels=pixels))
    node.turn()
    flagged = [each.sop_instance for each in node.objects if "duplicate" in _rows(each)[0].flags]
    assert flagged == ["2.25.1002"]


def test_nothing_but_the_report_says_who_it_is(node: Node) -> None:
    node.receive(film(1), broken_film(2))
    node.turn()
    [report] = node.reports
    assert pydicom.dcmread(report).PatientName == NAME
    node.queue.durable.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    searched = [node.config.state / "queue.sqlite", node.config.state / "studies.jsonl", Path(node.config.out)]
    for path in searched:
        content = path.read_bytes()
        assert b"CANARY" not in content
        assert NUMBER.encode() not in content
    assert "CANARY" not in " ".join(node.said)


def test_a_film_that_fails_is_a_dead_letter_and_its_study_goes_on(node: Node) -> None:
    node.receive(film(1, "2.25.1"), broken_film(2, "2.25.1"), broken_film(3, "2.25.2"))
    node.turn()
    assert sorted(each.sop_instance for each in node.queue.dead()) == ["2.25.1002", "2.25.1003"]
    assert [list(probabilities(report)) for report in node.reports] == [["2.25.1001"]]
    assert node.queue.outbox.counts() == {REPORTED: 1, UNREPORTED: 1}
    left_out = {line["study"]: line["left_out_reasons"].split(";")[0] for line in node.lines}
    assert left_out == {"2.25.1": "failed_truncated:1", "2.25.2": "failed_truncated:1"}


def test_an_image_that_comes_late_makes_a_new_report_of_the_whole_study(node: Node) -> None:
    """Though the first one's file is gone by then, as its report is delivered."""
    node.config = node.work._config = config_with_peer(node.config)
    node.receive(film(1))
    node.turn()
    [first] = (pydicom.dcmread(report) for report in node.reports)
    node.deliver()
    node.turn()
    assert list(node.config.objects.iterdir()) == []
    node.receive(film(2))
    node.turn()
    [second] = node.reports
    assert list(probabilities(second)) == ["2.25.1001", "2.25.1002"]
    late = pydicom.dcmread(second)
    assert late.SOPInstanceUID != first.SOPInstanceUID
    assert (late.PatientID, late.InstanceNumber, first.InstanceNumber) == (NUMBER, 2, 1)
    [study] = late.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == "2.25.500"


def config_with_peer(config: NodeConfig) -> NodeConfig:
    from dataclasses import replace

    from cxrzero.node.config import Peer

    return replace(config, peer=Peer(ae_title="ARCHIVE", host="127.0.0.1", port=1))


def test_two_patients_in_one_study_are_never_in_one_report(node: Node) -> None:
    """An archive has given two patients' films the same Study Instance UID; the second comes when the first is gone."""
    node.config = node.work._config = config_with_peer(node.config)
    node.receive(film(1, patient="A"), film(2, patient="B"))
    node.turn()
    assert sorted((pydicom.dcmread(r).PatientID, *probabilities(r)) for r in node.reports) == [
        ("A", "2.25.1001"),
        ("B", "2.25.1002"),
    ]
    node.deliver()
    node.turn()
    node.receive(film(3, patient="B"))
    node.turn()
    [late] = node.reports
    assert (pydicom.dcmread(late).PatientID, *probabilities(late)) == ("B", "2.25.1002", "2.25.1003")


def test_what_two_models_scored_is_never_in_one_report(tmp_path: Path, tiny_bundle: Path) -> None:
    """A node goes on with another model; each report names the one that scored its films."""
    before = Node(config_of(tmp_path, tiny_bundle, keep=True))
    before.receive(film(1))
    before.turn()
    [first] = before.reports
    content = first.read_bytes()
    before.close()
    after = Node(config_of(tmp_path, write_bundle(tmp_path / "other", seed=1), keep=True))
    after.receive(film(2))
    after.turn()
    reports = after.reports
    assert [list(probabilities(report)) for report in reports] == [["2.25.1001"], ["2.25.1002"]]
    assert reports[0].read_bytes() == content
    serials = {pydicom.dcmread(report).DeviceSerialNumber for report in reports}
    assert len(serials) == 2
    after.close()


def test_reports_of_images(tmp_path: Path, tiny_bundle: Path) -> None:
    node = Node(config_of(tmp_path, tiny_bundle, per="image"))
    node.receive(film(1), film(2))
    node.turn()
    assert [list(probabilities(report)) for report in node.reports] == [["2.25.1001"], ["2.25.1002"]]
    node.receive(film(3))
    node.turn()
    assert [list(probabilities(report)) for report in node.reports][2:] == [["2.25.1003"]]  # the others said the same
    node.close()


def test_a_picture_without_a_header_is_scored_and_not_reported(node: Node, png: Any) -> None:
    node.receive(png("a.png").read_bytes(), png("b.png", seed=1).read_bytes())
    node.turn()
    assert node.queue.outbox.counts() == {UNREPORTED: 2}
    assert node.reports == []
    assert list(node.config.objects.iterdir()) == []
    folders = {row.path.split("/")[0] for each in node.queue.found_in(node.lines[0]["study"]) for row in _rows(each)}
    assert len(folders) == 1


@pytest.mark.parametrize("last", ["Queue.scored", "Queue.close_studies", "Outbox.written"])
def test_a_step_that_was_killed_before_it_was_noted_gives_the_same_again(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The process dies when a step's work is done and before the queue knows: nothing is lost, nothing is double."""
    from cxrzero.node import outbox, queue

    owner = {"Queue": queue.Queue, "Outbox": outbox.Outbox}[last.split(".")[0]]
    before = Node(config)
    before.receive(film(1, "2.25.1"), film(2, "2.25.2"))
    with monkeypatch.context() as patch:

        def kill(*_: Any, **__: Any) -> None:
            raise KilledError

        patch.setattr(owner, last.split(".")[1], kill)
        with pytest.raises(KilledError):
            before.turn()
    written = {path.name: path.read_bytes() for path in config.reports.iterdir()}
    before.close()
    after = Node(config)
    after.turn()
    assert after.queue.outbox.counts() == {REPORTED: 2}
    assert len(after.lines) == 2
    assert rows_in(config, "films") == 2
    assert rows_in(config, "scores") == 2 * 2
    reports = {path.name: path.read_bytes() for path in config.reports.iterdir()}
    assert reports.keys() == {path.name for path in after.reports}
    assert written.items() <= reports.items()  # the very same bytes
    assert bool(written) is (last == "Outbox.written")
    after.close()


def test_what_was_written_and_never_noted_goes_at_the_next_start(config: NodeConfig) -> None:
    config.reports.mkdir(parents=True)
    (config.reports / "2.25.1.dcm").write_bytes(b"left behind")
    node = Node(config)
    assert list(config.reports.iterdir()) == []
    node.close()


def test_a_film_that_crashes_its_decoder_is_found_and_given_up(node: Node) -> None:
    pixels = (CRASH * 200)[: 64 * 48]
    node.receive(film(1, "2.25.1"), film(2, "2.25.2", pixels=pixels), film(3, "2.25.3"))
    deaths = 0
    for _ in range(30):
        try:
            if not node.work.step():
                break
        except ScoringDiedError:
            deaths += 1
    assert deaths == CRASHES
    [dead] = node.queue.dead()
    assert (dead.sop_instance, dead.code) == ("2.25.1002", "crashed")
    assert sorted(next(iter(probabilities(report))) for report in node.reports) == ["2.25.1001", "2.25.1003"]
    assert node.scoring.batches[0] == 3
    assert set(node.scoring.batches[1:]) == {1}  # then one by one: nobody is blamed for another
    assert [row.code for row in _rows(dead)] == ["crashed"]


def test_a_film_over_which_the_whole_node_ends_is_found_and_given_up(config: NodeConfig) -> None:
    """As where it takes all memory: nobody is left to say so. Others that were with it are not blamed."""
    starts = 0
    while True:
        node = Node(config)
        if starts == 0:
            node.receive(film(1, "2.25.1"), film(2, "2.25.2", pixels=(CRASH * 200)[: 64 * 48]))
        node.queue.crashed = lambda objects: None  # type: ignore[method-assign]  # it is not even counted
        try:
            node.turn()
            break
        except ScoringDiedError:
            starts += 1
            node.close()
    assert starts == ATTEMPTS
    assert node.queue.counts() == {"scored": 1, "failed": 1}
    assert [(dead.sop_instance, dead.code) for dead in node.queue.dead()] == [("2.25.1002", "crashed")]
    node.close()


def test_a_database_that_is_away_loses_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.receive(film(1))
    with monkeypatch.context() as patch:

        def away(run: int, rows: Sequence[Prediction]) -> int:
            raise RunError("the database is away")

        patch.setattr(node.database, "add", away)
        for _ in range(ATTEMPTS + 3):  # however often: it is not the film's fault
            with pytest.raises(RunError, match="away"):
                node.work.step()
    node.turn()
    assert len(node.reports) == 1
    assert rows_in(node.config, "scores") == 2


def test_a_report_that_nobody_foresaw_is_a_dead_letter(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.receive(film(1, "2.25.1"))
    with monkeypatch.context() as patch:

        def odd(*_: Any, **__: Any) -> None:
            raise ValueError(NAME)

        patch.setattr("cxrzero.node.reporting.report_of", odd)
        node.turn()
    [dead] = node.queue.outbox.reports(FAILED)
    assert dead.code == "report_ValueError"
    assert NAME not in " ".join(node.said)
    node.queue.outbox.requeue([dead.id])
    node.turn()
    assert len(node.reports) == 1


def test_a_report_that_cannot_be_written_is_written_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.receive(film(1))
    with monkeypatch.context() as patch:

        def full(*_: Any, **__: Any) -> None:
            raise WriteError("no space left on device")

        patch.setattr("cxrzero.node.reporting.write_report", full)
        with pytest.raises(WriteError):
            node.turn()
    assert node.queue.outbox.counts() == {SCORED: 1}
    node.turn()
    assert node.queue.outbox.counts() == {REPORTED: 1}


def test_a_report_whose_file_is_gone_is_made_again(node: Node) -> None:
    node.config = node.work._config = config_with_peer(node.config)
    node.receive(film(1))
    node.turn()
    [path] = node.reports
    content = path.read_bytes()
    path.unlink()
    node.queue.outbox.unwritten(node.queue.outbox.reports(REPORTED)[0])
    node.turn()
    assert path.read_bytes() == content


def test_objects_go_when_their_report_is_delivered(node: Node) -> None:
    node.config = node.work._config = config_with_peer(node.config)
    node.receive(film(1), broken_film(2))
    node.turn()
    assert len(list(node.config.objects.iterdir())) == 2
    node.deliver()
    node.turn()
    [kept] = node.config.objects.iterdir()
    assert kept.name == node.queue.dead()[0].file


def test_objects_are_kept_if_so_configured(tmp_path: Path, tiny_bundle: Path) -> None:
    node = Node(config_of(tmp_path, tiny_bundle, keep=True))
    node.receive(film(1))
    node.turn()
    node.deliver()
    node.turn()
    assert node.queue.outbox.counts() == {DELIVERED: 1}
    assert len(list(node.config.objects.iterdir())) == 1
    node.close()


def test_a_loop_goes_on_after_errors_and_ends_with_what_nobody_foresaw(tmp_path: Path) -> None:
    stop, said, turns = threading.Event(), list[str](), 0

    def step() -> bool:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise WriteError("the disk is full")
        if turns == 2:
            return True
        raise KeyError("a mistake")

    with Queue(tmp_path) as queue:
        loop = Loop("work", step, queue, said.append)
        loop.run(stop)
        assert said == ["the disk is full"]
        assert queue.durable.note("last_error") == "write"
    assert stop.is_set()
    assert isinstance(loop.error, KeyError)


def test_a_node_that_never_lives_as_long_as_a_batch_gets_on(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed whenever more than one film is scored together."""
    starts = 0
    while True:
        node = Node(config)
        if starts == 0:
            node.receive(*(film(seed, f"2.25.{seed}") for seed in range(6)))
        score = node.scoring.score

        def killed(studies: Any, score: Any = score) -> Any:
            if sum(map(len, studies)) > 1:
                raise KilledError
            return score(studies)

        monkeypatch.setattr(node.scoring, "score", killed)
        try:
            node.turn()
            break
        except KilledError:
            starts += 1
            node.close()
    assert starts == 3  # over six, over four of them, and over the other two
    assert node.queue.counts() == {"scored": 6}
    node.close()
