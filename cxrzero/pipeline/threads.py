"""Many files at once on their way to frames: in threads here, in processes in `cxrzero.pipeline.processes`.

Threads share one Python interpreter, and half a millisecond or more of each film is Python itself: a few of them
hardly wait for each other, many do, and the more the smaller the films are. Processes each have their own; they take a
moment to start, some memory each, and time to hand their frames over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Protocol, get_args

from cxrzero.cache.images import FileRecord
from cxrzero.choices import DecodeIn
from cxrzero.pipeline.decode_file import Decode, DecodeJob, items_of
from cxrzero.pipeline.embedder import inputs_of
from cxrzero.pipeline.items import Item, Preprocessing, RunStats
from cxrzero.sources import ImageRef

DECODE_IN: tuple[DecodeIn, ...] = get_args(DecodeIn)
# Workers from which "auto" takes processes, by the encoder's device. Beside a GPU two are enough: what feeds it is
# Python too, and would wait for threads that decode.
PROCESSES_FROM = {"cpu": 8, "cuda": 2}


class Job(Protocol):
    """One file that is being decoded or waits for it."""

    def items(self) -> Iterator[Item]:
        """Yield the file's frames and failures, in order, as they come."""


class Decoders(Protocol):
    """Decodes the files that it is given, in their order, several at once.

    Attributes:
        ahead: files that it wants to have before the first is taken, to be busy all the time.
    """

    ahead: int

    def submit(self, ref: ImageRef, records: Sequence[FileRecord | None]) -> Job:
        """Take a file, with what each model's cache knows of it."""

    def close(self) -> None:
        """Stop; what was not taken is dropped."""


# Is told of a film that is soon decoded, so that it may be fetched meanwhile.
Expect = Callable[[ImageRef], None]


def expect_nothing(ref: ImageRef) -> None:
    """What tells nobody."""


OpenDecoders = Callable[[RunStats], Decoders]


class ThreadDecoders:
    """Threads of this process.

    Args:
        decode: film → frames.
        preprocessings: of each model.
        workers: how many.
        stats: is told how long decoding took.
        expect: is told of each film when it is submitted.
        hurried: what threads wait for ends inside it.
    """

    def __init__(
        self,
        decode: Decode,
        preprocessings: Sequence[Preprocessing],
        workers: int,
        stats: RunStats,
        expect: Expect = expect_nothing,
        hurried: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._expect, self._hurried = expect, hurried
        self._decode, self._preprocessings, self._stats = decode, preprocessings, stats
        self.ahead = workers
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def submit(self, ref: ImageRef, records: Sequence[FileRecord | None]) -> DecodeJob[Item]:
        self._expect(ref)
        inputs = partial(inputs_of, self._preprocessings, records)
        job = DecodeJob(items_of(ref, self._decode, inputs, self._stats.add_decode), self._stop)
        self._pool.submit(job.run)
        return job

    def close(self) -> None:
        self._stop.set()
        with self._hurried():
            self._pool.shutdown(wait=True, cancel_futures=True)
