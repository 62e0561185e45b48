import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pytest

from cxrzero.backends.gpus import Gpu
from cxrzero.errors import BundleError, ImageError, SkippedImage
from cxrzero.images.radiograph import Facts, Radiograph
from cxrzero.model.geometry import Geometry
from cxrzero.model.model_json import Scoring
from cxrzero.model.score import Classifier
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline.decode_file import Decode
from cxrzero.pipeline.embedder import Embedder
from cxrzero.pipeline.items import Preprocessing, RunStats
from cxrzero.pipeline.run import Pipeline
from cxrzero.pipeline.threads import ThreadDecoders
from cxrzero.prediction import Prediction
from cxrzero.sources import ImageRef

LABELS = ("bright", "dark")


class FakeEncoder:
    """Embeds a picture as the point of the unit circle at the angle of its mean value; remembers its batches."""

    backend, device, precision, reason = "fake", "cpu", "fp32", "test"
    gpu: Gpu | None = None
    takes_fitted = takes_films = False

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[int] = []
        self.seconds = seconds

    def encode_images(self, pixel_values: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        self.batches.append(len(pixel_values))
        angle = pixel_values.mean(axis=(1, 2, 3)) / 255 * np.pi / 2
        return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)

    def encode_fitted(self, frames: Sequence[np.ndarray], steps: ValueSteps) -> np.ndarray:
        return self.encode_images(steps(np.stack(frames)))

    def encode_films(self, films: Sequence[np.ndarray], geometry: Geometry, steps: ValueSteps) -> np.ndarray:
        return self.encode_fitted([geometry(film) for film in films], steps)

    def encode_patches(self, pixel_values: np.ndarray) -> np.ndarray:
        raise AssertionError("the pipeline encodes no patches")

    def score(self, films: np.ndarray, texts: np.ndarray) -> np.ndarray:
        raise AssertionError("it has no scorer")

    attend = score

    def encode_texts(self, input_ids: np.ndarray) -> np.ndarray:
        raise AssertionError("the pipeline encodes no text")


CLASSIFIER = Classifier(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1], Scoring("softmax_pair", 4.0))


def decode(ref: ImageRef) -> Iterator[Radiograph]:
    """Paths say what happens: "7" is a picture of value 7, "3x5" has three frames of value 5."""
    path = ref.path
    if path.startswith("fail"):
        raise ImageError("truncated", "made to fail", facts=Facts(modality="CR"))
    if path.startswith("skip"):
        raise SkippedImage("no_pixels", "made to be skipped")
    if path.startswith("bug"):
        raise KeyError("secret patient name")
    frames, _, value = path.rpartition("x")
    count = int(frames or 1)
    for frame in range(1, count + 1):
        if value.startswith("-"):
            if frame == 2:
                raise ImageError("truncated", "second frame is cut")
            value = value[1:] if frame == 1 and count == 1 else value
        yield Radiograph(np.full((4, 4), abs(int(value)), np.uint8), frame=frame, n_frames=count)


def prepare(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels.astype(np.float32), (3, *pixels.shape)).copy()


def pipeline_of(
    decode: Decode, prepare: Preprocessing, encoder: FakeEncoder, batch_size: int, workers: int
) -> Pipeline:
    """In threads."""
    decoders = partial(ThreadDecoders, decode, [prepare], workers)
    return Pipeline(decoders, (Embedder(encoder),), batch_size)


def run(
    paths: list[str], *, workers: int = 3, batch_size: int = 4, encoder: FakeEncoder | None = None
) -> tuple[list[Prediction], RunStats]:
    stats = RunStats()
    pipeline = pipeline_of(decode, prepare, encoder or FakeEncoder(), batch_size, workers)
    return list(pipeline.run(map(ImageRef, paths), CLASSIFIER, LABELS, stats)), stats


def test_rows_keep_the_order_and_say_what_happened() -> None:
    rows, stats = run(["200", "fail", "2x100", "skip", "bug", "10"])
    assert [(row.path, row.frame, row.status) for row in rows] == [
        ("200", 1, "ok"),
        ("fail", None, "failed"),
        ("2x100", 1, "ok"),
        ("2x100", 2, "ok"),
        ("skip", None, "skipped"),
        ("bug", None, "failed"),
        ("10", 1, "ok"),
    ]
    assert (stats.ok, stats.failed, stats.skipped, stats.rows) == (4, 2, 1, 7)
    assert rows[1].error == "truncated: made to fail"
    assert rows[1].facts.modality == "CR"
    assert rows[1].scores == {}


def test_an_unexpected_error_is_a_row_without_its_text() -> None:
    rows, _ = run(["bug"])
    assert rows[0].error == "unexpected: KeyError while the file was decoded"


def test_scores_are_the_definition() -> None:
    rows, _ = run(["255", "0"])
    sigma = 1 / (1 + np.exp(-4.0))
    assert rows[0].scores["bright"] == pytest.approx(sigma, abs=1e-6)
    assert rows[1].scores["bright"] == pytest.approx(1 - sigma, abs=1e-6)
    assert rows[1].scores["dark"] == pytest.approx(sigma, abs=1e-6)


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (1, 64), (8, 1), (5, 7), (2, 1000)])
def test_rows_do_not_depend_on_workers_or_batches(workers: int, batch_size: int) -> None:
    paths = [str(value) for value in range(0, 250, 3)] + ["fail"] * 9 + ["30x77", "skip", "1"]
    expected, _ = run(paths)
    assert run(paths, workers=workers, batch_size=batch_size)[0] == expected


def test_a_frame_that_fails_leaves_the_frames_before_it() -> None:
    rows, _ = run(["3x-50"])
    assert [(row.frame, row.status) for row in rows] == [(1, "ok"), (2, "failed")]


def test_files_known_to_be_unusable_are_not_decoded() -> None:
    ref = ImageRef("5", ImageError("broken_link", "leads nowhere"))
    pipeline = pipeline_of(decode, prepare, FakeEncoder(), 4, 2)
    (row,) = pipeline.run([ref], CLASSIFIER, LABELS, RunStats())
    assert (row.status, row.error) == ("failed", "broken_link: leads nowhere")


def test_reading_is_bounded_by_the_window() -> None:
    """A slow consumer must stop the listing and the decoders, or memory grows with the archive."""
    taken = 0

    def endless() -> Iterator[ImageRef]:
        nonlocal taken
        while True:
            taken += 1
            yield ImageRef("100x3")

    pipeline = pipeline_of(decode, prepare, FakeEncoder(), 4, 3)
    rows = pipeline.run(endless(), CLASSIFIER, LABELS, RunStats())
    for _ in range(20):
        next(rows)
    assert taken <= 3 + 4
    rows.close()


def test_stopping_early_ends_every_thread() -> None:
    pipeline = pipeline_of(decode, prepare, FakeEncoder(), 2, 4)
    rows = pipeline.run((ImageRef("500x9") for _ in range(50)), CLASSIFIER, LABELS, RunStats())
    next(rows)
    rows.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_an_error_of_the_model_ends_the_run() -> None:
    def broken(pixels: np.ndarray) -> np.ndarray:
        raise BundleError("preprocess does not fit the encoder")

    pipeline = pipeline_of(decode, broken, FakeEncoder(), 2, 2)
    with pytest.raises(BundleError):
        list(pipeline.run([ImageRef("1"), ImageRef("2")], CLASSIFIER, LABELS, RunStats()))


def test_decoding_goes_on_while_the_encoder_runs() -> None:
    """Ten pictures that take 20 ms to decode, one encoder call of 20 ms each: overlapped, not added up."""

    def slow(ref: ImageRef) -> Iterator[Radiograph]:
        time.sleep(0.02)
        yield from decode(ref)

    encoder, stats = FakeEncoder(seconds=0.02), RunStats()
    list(pipeline_of(slow, prepare, encoder, 1, 4).run((ImageRef("1") for _ in range(10)), CLASSIFIER, LABELS, stats))
    assert encoder.batches == [1] * 10
    assert stats.decode_seconds >= 10 * 0.02
    assert stats.encode_seconds >= 10 * 0.02
