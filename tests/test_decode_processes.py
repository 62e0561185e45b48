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
from cxrzero.decode_processes import GROUP, ProcessDecoders
from cxrzero.decoding import FRAMES_AHEAD
from cxrzero.errors import ImageError, RunError, SkippedImage, UsageError
from cxrzero.images.radiograph import DecodeOptions, Facts
from cxrzero.pipeline import Pipeline
from cxrzero.preprocess import Preprocess
from cxrzero.screener import PROCESSES_FROM
from cxrzero.sources import ImageRef
from cxrzero.stream import Frame, RunStats
from tests.conftest import write_bundle
from tests.images.dicomfile import dicom_bytes

Draw = Callable[..., Path]
LABELS = ["edema", "pneumonia"]


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
    def chosen(workers: int, decode_in: str = "auto") -> str:
        return Screener(tiny_bundle, workers=workers, decode_in=decode_in, cache=False).decode_in  # type: ignore[arg-type]

    assert [chosen(PROCESSES_FROM - 1), chosen(PROCESSES_FROM)] == ["threads", "processes"]
    assert chosen(64, "threads") == "threads"
    with pytest.raises(UsageError, match="decode_in 'fork' is unknown"):
        chosen(1, "fork")


@pytest.mark.parametrize("kind", [ImageError, SkippedImage])
def test_errors_come_out_of_a_process_whole(kind: type[ImageError]) -> None:
    error = kind("truncated", "made to fail", facts=Facts(modality="CR"))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.code, copy.message) == (kind, str(error), error.code, error.message)
    assert copy.facts == error.facts


@contextlib.contextmanager
def decoders(workers: int = 1) -> Iterator[ProcessDecoders]:
    steps = [{"step": "resize", "height": 8, "width": 8, "interpolation": "bicubic"}, {"step": "rescale", "factor": 1}]
    opened = ProcessDecoders(DecodeOptions(), [Preprocess(steps, (8, 8))], workers, RunStats())
    try:
        yield opened
    finally:
        opened.close()


def test_a_grey_picture_travels_as_one_channel_and_arrives_as_three(png: Draw) -> None:
    with decoders() as opened:
        [frame] = opened.submit(ImageRef(str(png("a.png", 1))), [None]).items()
    assert isinstance(frame, Frame)
    [values] = frame.pixel_values
    assert values is not None
    assert (values.shape, values.strides[0]) == ((3, 8, 8), 0)


def test_a_process_that_dies_ends_the_run_in_words(png: Draw) -> None:
    path = str(png("a.png", 1))
    with decoders() as opened:
        list(opened.submit(ImageRef(path), [None]).items())
        for pid in list(opened._pool._processes):
            os.kill(pid, signal.SIGKILL)
        message = r"a decoding process ended by itself at or after .*a\.png.*--decode-in threads"
        with pytest.raises(RunError, match=message):
            [_ for _ in range(100) for _ in opened.submit(ImageRef(path), [None]).items()]


def test_a_system_without_means_for_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("cxrzero.decode_processes.ProcessPoolExecutor", refuse)
    with (
        pytest.raises(RunError, match=r"cannot be used here \(.*Function not implemented\); use --decode-in threads"),
        decoders(),
    ):
        pass


def test_a_run_that_is_left_half_way_leaves_no_process(tiny_bundle: Path, folder: Path) -> None:
    screener = Screener(tiny_bundle, workers=2, decode_in="processes", batch_size=1, cache=False)
    prompts = screener.prompts(LABELS)
    seen: list[ProcessDecoders] = []
    opened = screener._open_decoders()

    def remembered(stats: RunStats) -> ProcessDecoders:
        seen.append(opened(stats))  # type: ignore[arg-type]
        return seen[0]

    embedders = tuple(member.embedder(screener.decode_options) for member in screener.members)
    pipeline = Pipeline(remembered, embedders, 1, 2)
    refs = [ImageRef(str(path)) for path in sorted(folder.iterdir())]
    rows = pipeline.run(refs, screener.classifier(prompts), LABELS, RunStats())
    next(rows)
    pids = list(seen[0]._pool._processes)
    assert pids
    rows.close()
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_a_parent_that_is_killed(png: Draw, number: int) -> None:
    script = (
        "import sys, time\n"
        "from cxrzero.decode_processes import ProcessDecoders\n"
        "from cxrzero.images.radiograph import DecodeOptions\n"
        "from cxrzero.sources import ImageRef\n"
        "from cxrzero.stream import RunStats\n"
        "if __name__ == '__main__':\n"
        "    opened = ProcessDecoders(DecodeOptions(), [], 1, RunStats())\n"
        "    list(opened.submit(ImageRef(sys.argv[1]), []).items())\n"
        "    print(*opened._pool._processes, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(png("a.png", 1))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert pids
        process.send_signal(number)
        process.wait(timeout=30)
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
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
    assert "2 decoding processes" in error
    assert "Interrupted:" in error
    assert "Traceback" not in error
