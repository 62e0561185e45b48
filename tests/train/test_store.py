"""The store of decoded images: whole after a kill, shared between runs, clear about what it cannot do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import OutputError, TrainingError, UsageError
from cxrzero.images import decode
from cxrzero.train.data import decodejob
from cxrzero.train.data import store as store_module
from cxrzero.train.data.decodejob import DecodeChunk
from cxrzero.train.data.pairs import read_pairs
from cxrzero.train.data.store import data_fingerprint, open_store

GEOMETRY = [{"step": "resize", "height": 16, "width": 12, "interpolation": "bicubic"}]
PADDED = [
    {"step": "resize_longest", "size": 20, "interpolation": "lanczos"},
    {"step": "pad_to_square", "size": 20, "fill": 0},
]


def quiet(done, total):
    pass


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["image,text"]
    for number in range(10):
        Image.fromarray(rng.integers(0, 255, (30, 24), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,text {number}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines), "utf-8")
    return tmp_path / "pairs.csv"


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 3)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded, in this process."""
    names = []
    real = decode
    monkeypatch.setattr(decodejob, "decode", lambda path: names.append(path.name) or real(path))
    return names


def expected(folder, number, size):
    return np.asarray(Image.open(folder / f"{number}.png").resize(size, Image.Resampling.BICUBIC))


def test_pictures_are_those_of_the_geometry(source, small_chunks):
    pairs = read_pairs(source)
    told = []
    store = open_store(pairs, source.parent / "store", GEOMETRY, lambda *progress: told.append(progress), workers=1)
    assert store.pixels[np.array([7])].shape == (1, 16, 12)
    np.testing.assert_array_equal(store.pixels[np.array([7])][0], expected(source.parent, 7, (12, 16)))
    assert told == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert store.fingerprint == data_fingerprint(pairs, [fact.sha256 for fact in store.facts])
    assert len({fact.digest for fact in store.facts}) == 10
    assert open_store(pairs, source.parent / "store", PADDED, quiet).pixels[np.arange(2)].shape == (2, 20, 20)


def test_a_second_run_decodes_nothing_and_a_changed_file_everything(source, decoded):
    pairs, location = read_pairs(source), source.parent / "store"
    first = open_store(pairs, location, GEOMETRY, quiet)
    assert len(decoded) == 10
    assert open_store(pairs, location, GEOMETRY, quiet).fingerprint == first.fingerprint
    assert len(decoded) == 10
    Image.new("L", (30, 30), 9).save(source.parent / "3.png")
    assert open_store(pairs, location, GEOMETRY, quiet).fingerprint != first.fingerprint
    assert len(decoded) == 20


def test_only_what_is_missing_is_decoded_after_a_stop(source, small_chunks, decoded, monkeypatch):
    pairs, location = read_pairs(source), source.parent / "store"

    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(pairs, location, GEOMETRY, stop, workers=1)
    log = next(location.glob("*/decoded.jsonl"))
    log.write_text(log.read_text() + '{"6": ["half a line')  # as a kill leaves it
    decoded.clear()
    store = open_store(pairs, location, GEOMETRY, quiet, workers=1)
    assert decoded == ["6.png", "7.png", "8.png", "9.png"]
    for number in range(10):
        np.testing.assert_array_equal(store.pixels[np.array([number])][0], expected(source.parent, number, (12, 16)))
    decoded.clear()
    open_store(pairs, location, GEOMETRY, quiet, workers=1)
    assert decoded == []


def test_several_processes_make_the_same_store(source, small_chunks):
    pairs = read_pairs(source)
    one = open_store(pairs, source.parent / "one", GEOMETRY, quiet, workers=1)
    two = open_store(pairs, source.parent / "two", GEOMETRY, quiet, workers=2)
    np.testing.assert_array_equal(one.pixels[np.arange(10)], two.pixels[np.arange(10)])
    assert one.facts == two.facts
    assert one.fingerprint == two.fingerprint


def test_unreadable_images_are_named_all_at_once_or_left_out(source, decoded):
    for number in (2, 5):
        (source.parent / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    pairs, location = read_pairs(source), source.parent / "store"
    with pytest.raises(UsageError, match=r"(?s)2 images cannot be read:.*2\.png: .*5\.png: .*--skip-unreadable"):
        open_store(pairs, location, GEOMETRY, quiet)
    decoded.clear()
    store = open_store(pairs, location, GEOMETRY, quiet, skip_unreadable=True)
    assert decoded == []  # the reason is known
    assert store.pairs.images == [f"{n}.png" for n in (0, 1, 3, 4, 6, 7, 8, 9)]
    assert [store.pairs.texts[t[0]] for t in store.pairs.true_texts][2] == "text 3"
    assert len(store.unreadable) == 2
    assert len(store.pixels) == 8
    np.testing.assert_array_equal(store.pixels[np.array([2])][0], expected(source.parent, 3, (12, 16)))


def test_an_image_that_is_gone_meanwhile_is_named(source):
    pairs = read_pairs(source)
    (source.parent / "4.png").unlink()
    with pytest.raises(UsageError, match=r"4\.png: unreadable: No such file"):
        open_store(pairs, source.parent / "store", GEOMETRY, quiet)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no way to take disk space beforehand")
def test_a_full_disk_is_said_before_the_first_image(source, decoded, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"no room for the decoded images \(0\.0 GB for 10 images\)"):
        open_store(read_pairs(source), source.parent / "store", GEOMETRY, quiet)
    assert decoded == []
    assert not list((source.parent / "store").glob("*/pixels*"))


class Dying(DecodeChunk):
    """A decoder that takes its process with it."""

    def run(self):
        os._exit(9)


def test_a_dead_worker_is_said(source, small_chunks, monkeypatch):
    monkeypatch.setattr(store_module, "DecodeChunk", Dying)
    with pytest.raises(TrainingError, match=r"over their first files.*--decode-workers 1.*what was decoded is kept"):
        open_store(read_pairs(source), source.parent / "store", GEOMETRY, quiet, workers=2)


class DyingLater(DecodeChunk):
    """The third chunk's decoder is killed."""

    def run(self):
        if self.number == 2:
            time.sleep(0.5)  # the others are there by then
            os._exit(9)
        return super().run()


def test_what_was_decoded_before_a_worker_died_is_kept(source, small_chunks, monkeypatch, decoded):
    pairs, location = read_pairs(source), source.parent / "store"
    monkeypatch.setattr(store_module, "DecodeChunk", DyingLater)
    with pytest.raises(TrainingError, match=r"ended by itself: .*fewer --decode-workers; what was decoded is kept"):
        open_store(pairs, location, GEOMETRY, quiet, workers=2)
    monkeypatch.undo()
    real = decode
    monkeypatch.setattr(decodejob, "decode", lambda path: decoded.append(path.name) or real(path))
    open_store(pairs, location, GEOMETRY, quiet, workers=1)
    assert len(decoded) < 10


SCRIPT = """
import sys, time
from pathlib import Path
from cxrzero.train.data import store
from cxrzero.train.data.pairs import read_pairs
from cxrzero.images import decode
store.CHUNK = 2
def slow(done, total):
    print(done, flush=True)
    time.sleep(0.2)
store.open_store(read_pairs(Path(sys.argv[1])), Path(sys.argv[2]), [dict(step="resize", height=16, width=12,
    interpolation="bicubic")], slow, workers=int(sys.argv[3]))
"""


def test_after_kill_9_the_rest_is_decoded(source, monkeypatch, decoded):
    location = source.parent / "store"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, source, location, "1"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "2\n"
    assert process.stdout.readline() == "4\n"
    process.kill()
    process.wait()
    process.stdout.close()
    store = open_store(read_pairs(source), location, GEOMETRY, quiet, workers=1)
    assert 4 <= 10 - len(decoded) < 10
    for number in range(10):
        np.testing.assert_array_equal(store.pixels[np.array([number])][0], expected(source.parent, number, (12, 16)))


def test_after_kill_9_no_decoder_stays(source):
    command = [sys.executable, "-c", SCRIPT, source, source.parent / "store", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "2\n"
    process.kill()
    process.communicate(timeout=30)  # ends when nobody holds the pipe any more


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_ctrl_c_of_a_terminal_ends_the_decoders_quietly(source):
    """It goes to all processes; only the first one answers."""
    command = [sys.executable, "-c", SCRIPT, source, source.parent / "store", "2"]
    process = subprocess.Popen(
        command, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "2\n"
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)  # ends when nobody holds the pipes any more
    assert error.count("Traceback") == 1, error


def test_the_store_names_no_file(source):
    open_store(read_pairs(source), source.parent / "store", GEOMETRY, quiet)
    for path in (source.parent / "store").rglob("*"):
        assert path.is_dir() or b".png" not in path.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no advisory locks there")
def test_runs_that_share_a_store_decode_one_after_the_other(source, tmp_path, decoded):
    import fcntl
    import threading

    pairs = read_pairs(source)
    folder = tmp_path / "store" / store_module._key(pairs, GEOMETRY)
    folder.mkdir(parents=True)
    seen = []
    second = threading.Thread(target=lambda: seen.append(open_store(pairs, tmp_path / "store", GEOMETRY, quiet)))
    with (folder / store_module.LOCK).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert not decoded
    second.join(60)
    assert len(seen[0].pixels) == len(decoded) == 10
