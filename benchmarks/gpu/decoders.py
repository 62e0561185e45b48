"""Decoders alone: files to what the pipeline hands over, in loops that nobody feeds and from which nothing is taken."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cxrzero.images import decode
from cxrzero.images.radiograph import DecodeOptions, Radiograph
from cxrzero.pipeline.decode_file import digest_of
from cxrzero.pipeline.embedder import inputs_of
from cxrzero.pipeline.items import Preprocessing
from cxrzero.screener import Screener

Decode = Callable[[str], Iterator[Radiograph]]

# Until all of them decode; the slowest has imported the libraries by then.
WAIT = 30.0


def decoders_alone(screener: Screener, paths: Sequence[str], seconds: float) -> float:
    """Films per second of as many processes, or threads, as the screener decodes in, each by itself."""
    workers, part = screener.workers, screener.member.decoders_part
    if screener.decode_in == "processes":
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(workers)
        pool: Executor = ProcessPoolExecutor(workers, context, _know, (barrier,))
        decoded: Decode = partial(_decode, screener.decode_options)
    else:
        _know(threading.Barrier(workers))
        pool, decoded = ThreadPoolExecutor(workers), screener.decode
    with pool:
        return sum(pool.map(partial(loop, decoded, part, paths, seconds), range(workers)))


def loop(decoded: Decode, part: Preprocessing, paths: Sequence[str], seconds: float, worker: int) -> float:
    """Films per second of one of them, beside all the others."""
    place = worker % len(paths)
    own = [*paths[place:], *paths[:place]]

    def one(number: int) -> None:
        for radiograph in decoded(own[number % len(own)]):
            inputs_of([part], [None], radiograph.pixels, 1, digest_of(radiograph.pixels))

    one(0)  # imports what it needs
    _all_there.wait(WAIT)
    started = time.perf_counter()
    for done in itertools.count(1):
        one(done)
        if (spent := time.perf_counter() - started) >= seconds:
            return done / spent
    raise AssertionError("it counts for ever")


# Where they wait for each other before they start.
_all_there: threading.Barrier


def _know(barrier: threading.Barrier) -> None:
    global _all_there
    _all_there = barrier


def _decode(options: DecodeOptions, path: str) -> Iterator[Radiograph]:
    return decode(Path(path), options)
