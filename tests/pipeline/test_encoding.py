"""Batches beside the loop: in their order, one behind, errors where they belong, nothing left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from cxrzero.errors import ImageError, RunError
from cxrzero.pipeline.embedder import Embedder
from cxrzero.pipeline.encoding import Batch, encoded
from cxrzero.pipeline.items import Failure, RunStats
from cxrzero.pipeline.run import Pipeline
from cxrzero.pipeline.threads import ThreadDecoders
from cxrzero.prediction import Prediction
from cxrzero.sources import ImageRef
from tests.pipeline.test_pipeline import CLASSIFIER, LABELS, FakeEncoder, decode, prepare

PATHS = [*map(str, range(0, 250, 3)), "fail", "30x77", "skip", "3x-50", "1"]


def batch(number: int) -> Batch:
    return [Failure(ImageRef(str(number)), ImageError("truncated", "made to fail"))]


def names(batches: Iterator[Batch]) -> list[str]:
    return [item.ref.path for each in batches for item in each]


def encode_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("encode")]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_batches_keep_their_order(count: int, beside: bool) -> None:
    done: list[str] = []

    def encode(each: Batch) -> Batch:
        done.append(each[0].ref.path)
        return each

    found = names(encoded(map(batch, range(count)), encode, beside=beside))
    assert found == done == [str(number) for number in range(count)]
    assert not encode_threads()


def test_the_next_batch_is_put_together_while_one_is_encoded() -> None:
    second = threading.Event()

    def batches() -> Iterator[Batch]:
        yield batch(0)
        second.set()
        yield batch(1)

    def encode(each: Batch) -> Batch:
        assert second.wait(30), "the loop waited for the encoder"
        return each

    assert names(encoded(batches(), encode, beside=True)) == ["0", "1"]


def test_no_more_than_two_batches_are_on_their_way() -> None:
    made = 0

    def endless() -> Iterator[Batch]:
        nonlocal made
        while True:
            made += 1
            yield batch(made)

    stream = encoded(endless(), lambda each: each, beside=True)
    for given in range(1, 20):
        next(stream)
        assert made == given + 1
    stream.close()
    assert not encode_threads()


def test_an_error_of_the_encoder_comes_after_the_batches_before_it() -> None:
    def encode(each: Batch) -> Batch:
        if each[0].ref.path == "2":
            raise RunError("out of memory")
        return each

    stream = encoded(map(batch, range(9)), encode, beside=True)
    assert [each[0].ref.path for each in (next(stream), next(stream))] == ["0", "1"]
    with pytest.raises(RunError, match="out of memory"):
        next(stream)
    assert not encode_threads()


def test_an_error_of_the_decoders_comes_after_the_batches_before_it() -> None:
    def batches() -> Iterator[Batch]:
        yield batch(0)
        yield batch(1)
        raise RunError("a decoding process ended by itself")

    stream = encoded(batches(), lambda each: each, beside=True)
    assert [each[0].ref.path for each in (next(stream), next(stream))] == ["0", "1"]
    with pytest.raises(RunError, match="ended by itself"):
        next(stream)
    assert not encode_threads()


def test_ctrl_c_waits_for_the_batch_that_is_being_encoded() -> None:
    begun, left = threading.Event(), threading.Event()
    done: list[str] = []

    def interrupted() -> Iterator[Batch]:
        yield batch(0)
        yield batch(1)
        assert begun.wait(30)
        left.set()
        raise KeyboardInterrupt

    def encode(each: Batch) -> Batch:
        if each[0].ref.path == "1":
            begun.set()
            assert left.wait(30)
        done.append(each[0].ref.path)
        return each

    with pytest.raises(KeyboardInterrupt):
        names(encoded(interrupted(), encode, beside=True))
    assert done == ["0", "1"]
    assert not encode_threads()


def rows_on(device: str, batch_size: int) -> tuple[list[Prediction], RunStats, list[int]]:
    encoder, stats = FakeEncoder(), RunStats()
    encoder.device = device
    pipeline = Pipeline(partial(ThreadDecoders, decode, [prepare], 3), (Embedder(encoder),), batch_size)
    return list(pipeline.run(map(ImageRef, PATHS), CLASSIFIER, LABELS, stats)), stats, encoder.batches


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_rows_beside_the_loop_are_those_without(batch_size: int) -> None:
    expected, counted, batches = rows_on("cpu", batch_size)
    rows, stats, same = rows_on("cuda", batch_size)
    assert (rows, same) == (expected, batches)
    assert (stats.ok, stats.failed, stats.embedded) == (counted.ok, counted.failed, counted.embedded)


def test_reading_is_bounded_where_the_encoder_is_slow() -> None:
    """Two batches at the encoder, and a window of files: memory does not grow with the archive."""
    taken = 0

    def endless() -> Iterator[ImageRef]:
        nonlocal taken
        while True:
            taken += 1
            yield ImageRef("7")

    encoder = FakeEncoder()
    encoder.device = "cuda"
    pipeline = Pipeline(partial(ThreadDecoders, decode, [prepare], 3), (Embedder(encoder),), 4)
    rows = pipeline.run(endless(), CLASSIFIER, LABELS, RunStats())
    for _ in range(4):
        next(rows)
    assert taken <= 2 * 4 + 3 + 4
    rows.close()
    assert not encode_threads()
