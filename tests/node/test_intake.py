"""Objects as files, how they become the node's, and what is made of what a killed node left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrzero.errors import WriteError
from cxrzero.node.config import Limits, NodeConfig
from cxrzero.node.identity import Identity, identity_of_file
from cxrzero.node.intake import Intake
from cxrzero.node.objects import NewObject, Objects
from cxrzero.node.queue import Queue
from cxrzero.node.remarks import Remarks
from tests.support.dicomfile import dicom_bytes

FILM = dicom_bytes(None, PatientName="CANARY^NAME")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue(tmp_path / "node") as queue:
        yield queue


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "node" / "objects")


@pytest.fixture
def intake(tmp_path: Path, queue: Queue, objects: Objects) -> Intake:
    return Intake(NodeConfig(state=tmp_path / "node", limits=Limits(free_disk_mb=0)), objects, queue)


def written(objects: Objects, content: bytes = FILM) -> NewObject:
    new = objects.begin()
    new.write(content)
    new.finish()
    return new


def test_what_is_discarded_is_gone_and_what_is_committed_stays(objects: Objects) -> None:
    new = written(objects)
    assert [path.name for path in objects.folder.iterdir()] == [new.path.name]
    assert list(objects.names()) == []
    assert new.commit() is True
    new.discard()
    assert list(objects.names()) == [new.name]
    assert objects.path(new.name).read_bytes() == FILM
    again = written(objects)
    assert again.commit() is False
    gone = written(objects, b"x")
    gone.discard()
    assert [path.name for path in objects.folder.iterdir()] == [new.name]


def test_identity_is_uids_alone(objects: Objects) -> None:
    new = written(objects)
    assert identity_of_file(new.path) == Identity(
        "2.25.2", "2.25.3", "2.25.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1"
    )
    assert identity_of_file(written(objects, b"\x89PNG\r\n\x1a\n").path) == Identity()


def test_after_a_kill_between_file_and_row_the_object_is_entered(
    intake: Intake, objects: Objects, queue: Queue
) -> None:
    new = written(objects)
    new.commit()
    assert intake.recover() == (1, 0)
    [noted] = queue.stored()
    assert (noted.file, noted.sop_instance) == (new.name, "2.25.1")
    assert intake.recover() == (0, 0)


def test_parts_and_what_nobody_was_told_of_are_deleted(intake: Intake, objects: Objects, queue: Queue) -> None:
    written(objects)
    for content in (b"\x89PNG\r\n\x1a\n", FILM[:200]):
        written(objects, content).commit()
    assert intake.recover() == (0, 0)
    assert list(objects.folder.iterdir()) == []
    assert queue.stored() == []


def test_a_row_without_its_file_is_a_dead_letter(intake: Intake, objects: Objects, queue: Queue) -> None:
    new = written(objects)
    intake.take(new, identity_of_file(new.path))
    objects.delete(new.name)
    assert intake.recover() == (0, 1)
    [dead] = queue.dead()
    assert (dead.sop_instance, dead.code) == ("2.25.1", "lost")


def test_a_file_that_was_delivered_is_deleted_if_its_deletion_was_cut_off(
    intake: Intake, objects: Objects, queue: Queue
) -> None:
    new = written(objects)
    intake.take(new, identity_of_file(new.path))
    queue.removed(queue.stored())
    assert intake.recover() == (0, 0)
    assert list(objects.names()) == []


def test_a_row_that_cannot_be_written_leaves_what_recovery_enters(
    intake: Intake, objects: Objects, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise WriteError("no room")

    new = written(objects)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "received", full)
        with pytest.raises(WriteError):
            intake.take(new, identity_of_file(new.path))
    assert intake.take(written(objects), identity_of_file(objects.path(new.name))) is True
    assert len(queue.stored()) == 1


def test_the_same_remark_is_not_repeated_for_a_minute() -> None:
    said, clock = list[str](), iter((0.0, 1.0, 2.0, 59.0, 59.0, 61.0))
    remarks = Remarks(said.append, lambda: next(clock))
    for sentence in ("refused", "refused", "refused", "refused", "other", "refused"):
        remarks(sentence)
    assert said == ["refused", "other", "refused (3 times more before)"]


def test_remarks_remember_a_thousand_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    remarks = Remarks(lambda _: None, lambda: 0.0)
    for number in range(5000):
        remarks(f"refused {number}")
    assert len(remarks._said) == 1000
