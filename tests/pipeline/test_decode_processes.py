"""Decoding in processes gives what decoding in threads gives, and ends when the run does."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cxrzero import Screener
from cxrzero.errors import ImageError, MissingExtraError, RunError, SkippedImage, UsageError
from cxrzero.images.radiograph import Facts
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline.decode_file import FRAMES_AHEAD
from cxrzero.pipeline.items import Frame, Input, RunStats
from cxrzero.pipeline.processes import GROUP, ProcessDecoders, _slim
from cxrzero.pipeline.run import Pipeline
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader
from tests.support.bundle import write_bundle
from tests.support.dicomfile import dicom_bytes

READ = Reader().decode

Draw = Callable[..., Path]
LABELS = ["edema", "pneumonia"]
STEPS = [{"step": "resize", "height": 8, "width": 8, "interpolation": "bicubic"}, {"step": "rescale", "factor": 1}]
with_signals = pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")


@pytest.fixture
def folder(png: Draw, tmp_path: Path) -> Path:
    """Pictures, two equal ones, broken and skipped files, a few frames, and more frames than are brought over."""
    for number in range(2 * GROUP + 1):
        png(f"in/{number}.png", number % 7)
    films = [np.random.default_rng(i).integers(0, 255, (20, 24)).astype(np.uint8) for i in range(2 * FRAMES_AHEAD + 1)]
    (tmp_path / "in" / "few.dcm").write_bytes(dicom_bytes(films[:3]))
    (tmp_path / "in" / "many.dcm").write_bytes(dicom_bytes(films))
    (tmp_path / "in" / "cut.dcm").write_bytes(dicom_bytes(films[0])[:-100])
    (tmp_path / "in" / "ct.dcm").write_bytes(dicom_bytes(films[0], Modality="CT"))
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    return tmp_path / "in"


def test_rows_are_those_of_threads(tiny_bundle: Path, folder: Path) -> None:
    threads, processes = (
        Screener(tiny_bundle, workers=2, decode_in=decode_in, cache=False).predict(folder, LABELS)
        for decode_in in ("threads", "processes")
    )
    assert processes == threads
    assert [row.status for row in threads].count("ok") == 2 * GROUP + 1 + 3 + 2 * FRAMES_AHEAD + 1
    assert {row.status for row in threads} == {"ok", "failed", "skipped"}


def test_models_with_other_preprocessing_and_a_cache_that_knows_some(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    steps = [
        {"step": "resize", "height": 16, "width": 16, "interpolation": "bicubic"},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
    ]
    other = write_bundle(tmp_path / "other", seed=1, preprocess=steps)
    models = [str(tiny_bundle), str(other)]
    Screener(other, decode_in="processes").predict(folder, LABELS)  # of the ensemble's embeddings now half are known
    found = Screener(models, workers=2, decode_in="processes").predict(folder, LABELS)
    assert found == Screener(models, workers=2, cache=False).predict(folder, LABELS)


def test_auto_takes_processes_for_many_workers_only(tiny_bundle: Path) -> None:
    def chosen(workers: int, decode_in: str = "auto", device: str = "cpu") -> str:
        screener = Screener(tiny_bundle, device="cpu", workers=workers, decode_in=decode_in, cache=False)  # type: ignore[arg-type]
        screener.member.encoder.device = device
        return screener.decode_in

    assert [chosen(workers) for workers in (1, 7, 8)] == ["threads", "threads", "processes"]
    assert [chosen(workers, device="cuda") for workers in (1, 2)] == ["threads", "processes"]
    assert chosen(64, "threads") == "threads"
    with pytest.raises(UsageError, match="decode_in 'fork' is unknown"):
        chosen(1, "fork")


@pytest.mark.parametrize("kind", [ImageError, SkippedImage])
def test_errors_come_out_of_a_process_whole(kind: type[ImageError]) -> None:
    error = kind("truncated", "made to fail", facts=Facts(modality="CR"))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.code, copy.message) == (kind, str(error), error.code, error.message)
    assert copy.facts == error.facts


def test_a_missing_extra_is_said_by_a_process_as_by_a_thread() -> None:
    error = MissingExtraError("openvino", "openvino")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.extra) == (MissingExtraError, str(error), "openvino")


@contextlib.contextmanager
def decoders(workers: int = 1, models: int = 1) -> Iterator[ProcessDecoders]:
    opened = ProcessDecoders(READ, [Preprocess(STEPS, (8, 8))] * models, workers, RunStats())
    try:
        yield opened
    finally:
        opened.close()


def test_a_grey_picture_travels_as_one_channel_and_arrives_as_three(png: Draw) -> None:
    with decoders() as opened:
        [frame] = opened.submit(ImageRef(str(png("a.png", 1))), [None]).items()
    assert isinstance(frame, Frame)
    [values] = frame.inputs
    assert values is not None
    assert (values.shape, values.strides[0]) == ((3, 8, 8), 0)


def test_models_that_share_a_preprocessing_get_one_array(png: Draw) -> None:
    with decoders(models=3) as opened:
        [frame] = opened.submit(ImageRef(str(png("a.png", 1))), [None] * 3).items()
    assert isinstance(frame, Frame)
    assert len(frame.inputs) == 3
    assert len({id(values) for values in frame.inputs}) == 1
    same: list[Input | None] = [np.zeros((3, 8, 8), np.float32)] * 3
    sent = _slim(same, [Preprocess(STEPS, (8, 8))] * 3)
    assert len({id(values) for values in sent}) == 1


def pids_of(opened: ProcessDecoders) -> list[int]:
    executor = opened._workers._executor
    return [] if executor is None else list(executor._processes)


def kill_all(opened: ProcessDecoders) -> None:
    for pid in pids_of(opened):
        os.kill(pid, signal.SIGKILL)


ENDED = r"^a decoding process ended by itself: [^/]*--decode-in threads[^/]*$"  # no path


@with_signals
def test_a_process_that_dies_ends_the_run_in_words(png: Draw) -> None:
    ref = ImageRef(str(png("a.png", 1)))
    with decoders() as opened:
        list(opened.submit(ref, [None]).items())
        kill_all(opened)
        with pytest.raises(RunError, match=ENDED):
            [_ for _ in range(100) for _ in opened.submit(ref, [None]).items()]


@with_signals
def test_a_process_that_dies_while_more_files_are_sent(png: Draw) -> None:
    ref = ImageRef(str(png("a.png", 1)))
    with decoders() as opened:
        list(opened.submit(ref, [None]).items())
        jobs = [opened.submit(ref, [None]) for _ in range(2 * GROUP + 1)]
        kill_all(opened)
        deadline = time.monotonic() + 30
        executor = opened._workers._executor
        assert executor is not None
        while not executor._broken and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(RunError, match=ENDED):
            jobs += [opened.submit(ref, [None]) for _ in range(GROUP)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(24, "Too many"), r"could not be started \(.*Too many\); use fewer --workers or --decode-in threads"),
        (BrokenPipeError(), r"could not start, .*--decode-in threads"),
    ],
)
def test_a_process_that_cannot_be_started(
    png: Draw, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("concurrent.futures.process.ProcessPoolExecutor.submit", refuse)
    with decoders() as opened, pytest.raises(RunError, match=message):
        opened.submit(ImageRef(str(png("a.png", 1))), [None])


def test_a_script_that_starts_itself_again_is_told_why_it_fails(png: Draw, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from cxrzero.pipeline.processes import ProcessDecoders\n"
        "from cxrzero.sources.reader import Reader\n"
        "from cxrzero.sources import ImageRef\n"
        "from cxrzero.pipeline.items import RunStats\n"
        "opened = ProcessDecoders(Reader().decode, [], 1, RunStats())\n"
        f"list(opened.submit(ImageRef({str(png('a.png', 1))!r}), []).items())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "RunError: decoding processes could not start" in last
    assert 'if __name__ == "__main__":' in last
    assert 'decode_in="threads"' in last


def test_a_few_files_are_shared_by_all_processes(png: Draw) -> None:
    ref = ImageRef(str(png("a.png", 1)))
    with decoders(workers=3) as opened:
        assert opened.ahead == 3 * GROUP
        jobs = [opened.submit(ref, [None]) for _ in range(3 + GROUP + 1)]
        assert [len(group.tasks) for group in dict.fromkeys(job._group for job in jobs)] == [1, 1, 1, GROUP, 1]
        assert len(pids_of(opened)) == 3
        assert sum(len(list(job.items())) for job in jobs) == len(jobs)
        assert opened._out == 0


def test_windows_can_wait_for_61_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    opened = ProcessDecoders(READ, [], 64, RunStats())
    assert opened.ahead == 61 * GROUP


def test_a_run_that_opens_no_file_starts_no_pool(
    tiny_bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Screener(tiny_bundle).predict(folder, LABELS)
    monkeypatch.setattr("cxrzero.pipeline.workers.ProcessPoolExecutor", None)
    files = [row.path for row in known if row.status == "ok"]
    assert len(Screener(tiny_bundle, decode_in="processes").predict(list(dict.fromkeys(files)), LABELS)) == len(files)


def sleepy(tasks: object) -> None:
    """In a process, for a decoder that takes long."""
    time.sleep(60)


@with_signals
def test_closing_does_not_wait_for_a_slow_file(png: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = ImageRef(str(png("a.png", 1)))
    with decoders(workers=2) as opened:
        list(opened.submit(ref, [None]).items())  # a process has started
        monkeypatch.setattr("cxrzero.pipeline.processes._decode_group", sleepy)
        for _ in range(5 * GROUP):
            opened.submit(ref, [None])
        pids = pids_of(opened)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


@with_signals
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01])
def test_closing_in_the_middle_of_messages(delay: float) -> None:
    with decoders(workers=2) as opened:
        pool = opened._workers
        pool.submit(large, 1).result()
        for _ in range(8):
            pool.submit(large, 50_000_000)
        time.sleep(delay)
        pids = pids_of(opened)
    assert not any(map(is_alive, pids))


def large(size: int) -> bytes:
    """In a process."""
    return bytes(size)


def test_a_system_without_means_for_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("cxrzero.pipeline.workers.ProcessPoolExecutor", refuse)
    with (
        decoders() as opened,
        pytest.raises(RunError, match=r"cannot be used here \(.*Function not implemented\); use --decode-in threads"),
    ):
        opened.submit(ImageRef("a.png"), [None])


@with_signals
def test_a_run_that_is_left_half_way_leaves_no_process(tiny_bundle: Path, folder: Path) -> None:
    screener = Screener(tiny_bundle, workers=2, decode_in="processes", batch_size=1, cache=False)
    prompts = screener.prompts(LABELS)
    seen: list[ProcessDecoders] = []
    opened = screener._open_decoders()

    def remembered(stats: RunStats) -> ProcessDecoders:
        seen.append(opened(stats))  # type: ignore[arg-type]
        return seen[0]

    embedders = tuple(member.embedder(screener.decode_options) for member in screener.members)
    pipeline = Pipeline(remembered, embedders, 1)
    refs = [ImageRef(str(path)) for path in sorted(folder.iterdir())]
    rows = pipeline.run(refs, screener.classifier(prompts), LABELS, RunStats())
    next(rows)
    pids = pids_of(seen[0])
    assert pids
    rows.close()
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@with_signals
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_processes_end_with_a_parent_that_is_killed(png: Draw, name: str) -> None:
    script = (
        "import sys, time\n"
        "from cxrzero.pipeline.processes import ProcessDecoders\n"
        "from cxrzero.sources.reader import Reader\n"
        "from cxrzero.sources import ImageRef\n"
        "from cxrzero.pipeline.items import RunStats\n"
        "if __name__ == '__main__':\n"
        "    opened = ProcessDecoders(Reader().decode, [], 1, RunStats())\n"
        "    list(opened.submit(ImageRef(sys.argv[1]), []).items())\n"
        "    print(*opened._workers._executor._processes, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(png("a.png", 1))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert pids
        process.send_signal(getattr(signal, name))
        process.wait(timeout=30)
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


@with_signals
@pytest.mark.slow
def test_ctrl_c_of_a_terminal_ends_all_quietly(tiny_bundle: Path, png: Draw, tmp_path: Path) -> None:
    for number in range(8):
        png(f"in/{number}.png", number)
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/in/{n % 8}.png\n" for n in range(1_000_000)))
    command = [sys.executable, "-m", "cxrzero", "predict", "@list.txt", "--model", str(tiny_bundle), "--workers", "2"]
    command += ["--decode-in", "processes", "--no-cache"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        partial = tmp_path / "predictions.csv.partial"
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 10_000) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "decoding in 2 processes" in error
    assert "Interrupted:" in error
    assert "Traceback" not in error
