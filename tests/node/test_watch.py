"""The watched folder: what settles is taken once, what the user put there stays."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrzero.node.config import Limits, NodeConfig
from cxrzero.node.intake import Intake
from cxrzero.node.objects import Objects
from cxrzero.node.queue import Queue
from cxrzero.node.watch import Watch
from tests.support.dicomfile import dicom_bytes

FILM = dicom_bytes(b"\1\0" * 64, Rows=8, Columns=8, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0)
SETTLE_S = 5.0


class Watched:
    """A watched folder whose clock the test moves."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "incoming"
        self.folder.mkdir(exist_ok=True)
        limits = settings.pop("limits", Limits(free_disk_mb=0))
        self.config = NodeConfig(
            state=folder / "node", watch=self.folder, settle_seconds=SETTLE_S, limits=limits, **settings
        )
        self.now, self.said = 1000.0, list[str]()
        self.open()

    def open(self) -> None:
        """Begin anew, as a node that starts does."""
        self.queue = Queue(self.config.state)
        self.objects = Objects(self.config.objects)
        intake = Intake(self.config, self.objects, self.queue)
        self.watch = Watch(self.config, intake, self.queue.durable, self.said.append, lambda: self.now)

    def look(self, seconds: float = 0.0) -> int:
        self.now += seconds
        return self.watch.look()

    def settle(self) -> int:
        """Look twice, with enough between."""
        return self.look() + self.look(SETTLE_S)

    def sources(self) -> list[str]:
        return [os.path.relpath(each.source, self.folder) for each in self.queue.stored()]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def watched(**settings: Any) -> Watched:
        made.append(Watched(tmp_path, **settings))
        return made[-1]

    yield watched
    for each in made:
        each.queue.close()


def test_files_of_all_kinds_are_taken_and_stay(watched: Any, png: Any) -> None:
    w = watched()
    (w.folder / "a.dcm").write_bytes(FILM)
    (w.folder / "ward").mkdir()
    (w.folder / "ward" / "no suffix").write_bytes(FILM[:-2] + b"\2\0")
    png("incoming/b.png")
    (w.folder / "notes.txt").write_text("no image")
    (w.folder / "broken.jpg").write_text("its name says that it is one")
    assert w.look() == 0
    assert w.look(SETTLE_S - 1) == 0
    assert w.look(1) == 3, "two of the same UID, of which the second has other content"
    assert sorted(w.sources()) == ["a.dcm", "b.png", "broken.jpg"]
    assert w.said == [
        "a file of the watched folder has the SOP Instance UID of another that is known; it is left alone"
    ]
    assert len(list(w.folder.rglob("*.*"))) == 4
    first = w.queue.stored()[0]
    assert w.objects.path(first.file).read_bytes() == (w.folder / w.sources()[0]).read_bytes()


def test_a_file_that_grows_is_not_taken_until_it_rests(watched: Any) -> None:
    w = watched()
    file = w.folder / "a.dcm"
    for end in (100, 300, len(FILM)):
        file.write_bytes(FILM[:end])
        assert w.look(SETTLE_S) == 0
    assert w.look(SETTLE_S) == 1
    assert w.objects.path(w.queue.stored()[0].file).read_bytes() == FILM


def test_a_file_that_changes_while_it_is_copied_is_not_taken(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    w = watched()
    file = w.folder / "a.dcm"
    file.write_bytes(FILM)
    w.look()
    begin = w.watch._intake.begin

    def begin_late() -> Any:
        with file.open("ab") as more:
            more.write(b"more")
        return begin()

    with monkeypatch.context() as patch:
        patch.setattr(w.watch._intake, "begin", begin_late)
        assert w.look(SETTLE_S) == 0
    assert list(w.objects.folder.iterdir()) == []
    assert w.settle() == 1


def test_times_of_files_and_jumps_of_clocks_mean_nothing(watched: Any) -> None:
    w = watched()
    file = w.folder / "a.dcm"
    file.write_bytes(FILM)
    os.utime(file, (4e9, 4e9))
    assert w.settle() == 1


def test_each_content_is_taken_once(watched: Any, png: Any) -> None:
    w = watched()
    (w.folder / "a.dcm").write_bytes(FILM)
    (w.folder / "copy.dcm").write_bytes(FILM)
    png("incoming/1.png", 1)
    png("incoming/2.png", 1)
    assert w.settle() == 2
    assert w.settle() == 0


def test_what_was_taken_is_not_opened_again_by_the_next_node(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    w = watched()
    (w.folder / "a.dcm").write_bytes(FILM)
    (w.folder / "notes").write_text("no image")
    w.settle()
    w.queue.close()
    w.open()
    monkeypatch.setattr("cxrzero.node.watch.kind_of", lambda path: pytest.fail(f"opened {path}"))
    assert w.settle() == 0
    assert b"a.dcm" not in b"".join(key for (key,) in w.queue.durable.rows("SELECT key FROM watched"))


def test_a_file_that_is_replaced_is_another(watched: Any) -> None:
    w = watched()
    file = w.folder / "a.dcm"
    file.write_bytes(FILM)
    w.settle()
    file.write_bytes(dicom_bytes(None, SOPInstanceUID="2.25.77"))
    assert w.settle() == 1


def test_files_are_deleted_only_where_the_configuration_says_so(watched: Any) -> None:
    w = watched(watch_delete=True)
    (w.folder / "a.dcm").write_bytes(FILM)
    (w.folder / "notes.txt").write_text("not the node's")
    assert w.settle() == 1
    assert [path.name for path in w.folder.iterdir()] == ["notes.txt"]
    assert len(w.queue.stored()) == 1


def test_without_room_files_wait(watched: Any) -> None:
    w = watched(limits=Limits(free_disk_mb=10**9))
    (w.folder / "a.dcm").write_bytes(FILM)
    assert w.settle() == 0
    assert w.said == ["the watched folder waits: the disk is full"]


def test_a_file_above_the_limit_is_left_alone(watched: Any) -> None:
    w = watched(limits=Limits(free_disk_mb=0, object_mb=1))
    (w.folder / "a.dcm").write_bytes(FILM + bytes(1024 * 1024))
    assert w.settle() == 0
    assert w.said == ["a file of the watched folder is larger than limits.object_mb; it is left alone"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders, and links need rights")
def test_links_and_hidden_files_are_not_looked_at(watched: Any, tmp_path: Path) -> None:
    w = watched()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.dcm").write_bytes(FILM)
    (w.folder / "link.dcm").symlink_to(tmp_path / "elsewhere" / "a.dcm")
    (w.folder / "folder").symlink_to(tmp_path / "elsewhere")
    (w.folder / ".a.dcm.x7Qz").write_bytes(FILM)
    os.mkfifo(w.folder / "pipe.dcm")
    assert w.settle() == 0


def test_a_folder_that_goes_away_is_said(watched: Any) -> None:
    w = watched()
    w.folder.rmdir()
    stop = threading.Event()
    w.watch._notify = lambda text: (w.said.append(text), stop.set())
    w.watch.run(stop)
    assert w.said == ["the watched folder cannot be looked through: No such file or directory"]
