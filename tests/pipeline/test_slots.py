"""Shared memory between decoding processes and their parent: what is put there comes out, and nothing stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxrzero.images import decode
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline import processes, slots
from cxrzero.pipeline.items import Frame, Input, Item, RunStats
from cxrzero.pipeline.processes import GROUP, ProcessDecoders
from cxrzero.pipeline.slots import Slots
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader
from tests.pipeline.test_decode_processes import STEPS, Draw, decoders, folder, kill_all, with_signals

READ = Reader().decode

__all__ = ["folder"]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def picture(seed: int, shape: tuple[int, ...], dtype: type = np.uint8) -> Input:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def test_what_is_put_comes_out_and_what_models_share_is_there_once() -> None:
    opened = Slots(2, 1000)
    first, second = opened.take(), opened.take()
    assert first is not None
    assert second is not None
    grey, values = picture(1, (8, 9)), picture(2, (3, 8, 8), np.float32)
    places = opened.put(first, [grey, None, values, grey])
    other = opened.put(second, [picture(3, (8, 9))])
    assert places is not None
    assert other is not None
    out = opened.get(places)
    np.testing.assert_array_equal(out[0], grey)
    np.testing.assert_array_equal(out[2], values)
    assert out[1] is None
    assert out[3] is out[0]
    opened.put(first, [picture(4, (8, 9))])
    np.testing.assert_array_equal(out[0], grey)  # a copy
    np.testing.assert_array_equal(opened.get(other)[0], picture(3, (8, 9)))


def test_slots_run_out_and_come_back() -> None:
    opened = Slots(3, 100)
    taken = [opened.take() for _ in range(4)]
    assert sorted(slot for slot in taken if slot is not None) == [0, 1, 2]
    assert taken[3] is None
    opened.give_back(None)
    opened.give_back(1)
    assert [opened.take(), opened.take()] == [1, None]


def test_a_frame_that_is_too_large_is_not_put() -> None:
    opened = Slots(2, 100)
    assert opened.take() is not None
    assert opened.put(0, [picture(1, (10, 10))]) is not None
    assert opened.put(0, [picture(1, (10, 10)), picture(2, (1, 1))]) is None


@pytest.mark.parametrize(("count", "size"), [(5, slots.MOST_BYTES + 1), (0, 10), (10, 0)])
def test_no_slots_where_there_is_nothing_to_share(count: int, size: int) -> None:
    assert Slots(count, size).take() is None


def test_the_block_has_a_limit() -> None:
    opened = Slots(1000, slots.MOST_BYTES // 3)
    assert [opened.take() is None for _ in range(4)] == [False, False, False, True]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_no_room_for_the_block_is_found_before_anyone_writes_to_it() -> None:
    """A mapped file without room ends whoever writes to it with SIGBUS."""
    script = (
        "import resource\n"
        "from cxrzero.pipeline.slots import Slots\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "print(Slots(4, 2**17).take(), Slots(4, 2**20).take())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "3 None\n"), done.stderr


@on_linux
def test_room_that_is_gone_since_it_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "wb") as full:
        monkeypatch.setattr(slots, "Arena", lambda size: SimpleNamespace(fd=full.fileno()))
        assert Slots(4, 100).take() is None


def test_a_system_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slots, "Arena", full)
    assert Slots(4, 100).take() is None


@on_linux
def test_nothing_has_a_name_and_nothing_stays_open() -> None:
    def handles() -> int:
        return sum("pym-" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if exists(fd))

    def exists(fd: str) -> bool:
        return os.path.lexists(f"/proc/self/fd/{fd}")

    before = handles()
    opened = Slots(4, 100)
    opened.take()
    assert handles() > before
    assert not list(Path("/dev/shm").glob(f"pym-{os.getpid()}-*"))
    opened.close()
    assert handles() == before
    assert opened.take() is None


def items_of(opened: ProcessDecoders, paths: list[Path], models: int = 1) -> list[Item]:
    jobs = [opened.submit(ImageRef(str(path)), [None] * models) for path in paths]
    return [item for job in jobs for item in job.items()]


def free(opened: ProcessDecoders) -> int:
    assert opened._slots._free is not None
    return len(set(opened._slots._free))


def test_every_slot_comes_back_from_every_kind_of_file(folder: Path) -> None:
    """Pictures, a few frames, many frames, broken and skipped files."""
    paths = sorted(folder.iterdir())
    with decoders(workers=2) as opened:
        before = opened._slots._count
        assert before == 2 * GROUP < len(paths)  # some files find no slot
        items = items_of(opened, paths)
        assert free(opened) == before
        again = items_of(opened, paths)
    for first, second in zip(items, again, strict=True):
        if isinstance(first, Frame) and isinstance(second, Frame):
            pixels = [each.pixels for each in decode(first.ref.path) if each.frame == first.frame]
            expected = Preprocess(STEPS, (8, 8))(pixels[0])
            np.testing.assert_array_equal(array(first), expected)
            np.testing.assert_array_equal(array(second), expected)


def array(frame: Frame) -> Input:
    assert frame.inputs[0] is not None
    return frame.inputs[0]


def test_frames_without_a_slot_are_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(folder.iterdir())
    with decoders(models=2) as opened:
        shared = items_of(opened, paths, 2)
    monkeypatch.setattr(slots, "MOST_BYTES", 0)
    with decoders(models=2) as opened:
        sent = items_of(opened, paths, 2)
        assert opened._slots._count == 0
    assert [type(item) for item in shared] == [type(item) for item in sent]
    for one, other in zip(shared, sent, strict=True):
        if isinstance(one, Frame) and isinstance(other, Frame):
            assert one.inputs[0] is one.inputs[1]
            np.testing.assert_array_equal(array(one), array(other))


def test_only_first_frames_are_shared(png: Draw) -> None:
    """A frame in shared memory is not sent as well."""
    preprocess = Preprocess(STEPS, (8, 8))
    opened = Slots(1, 4 * 8 * 8)
    processes._know(READ, (preprocess,), opened)
    path = png("a.png", 1)
    task = processes.Task(ImageRef(str(path)), [None], opened.take())
    found = processes._decoded(task)
    assert found.items is not None
    assert isinstance(found.items[0], Frame)
    assert found.items[0].inputs == []
    assert found.places is not None
    [values] = opened.get(found.places)
    assert values is not None
    np.testing.assert_array_equal(values[0], preprocess(next(decode(path)).pixels)[0])


@with_signals
def test_a_killed_process_leaves_no_block(png: Draw) -> None:
    ref = ImageRef(str(png("a.png", 1)))
    with decoders() as opened:
        list(opened.submit(ref, [None]).items())
        kill_all(opened)
    assert opened._slots._arena is None


def test_the_block_waits_for_a_file() -> None:
    opened = ProcessDecoders(READ, [Preprocess(STEPS, (8, 8))], 2, RunStats(), waiting=5)
    assert opened._slots._count == 2 * GROUP + 5
    assert opened._slots._arena is None
    opened.close()
