"""The one loop that knows all stages: files → decode and preprocess in parallel → encode in batches → rows in order.

Memory stays flat: at most `window` files are being decoded or waiting, each through a queue of a few frames, and a
slow encoder stops the decoders (back-pressure). A file that cannot be read is a row, never the end of the run. What
this module does not know: options, tables, progress bars.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import Full, Queue

import numpy as np
import numpy.typing as npt

from cxrzero.backends import Encoder
from cxrzero.errors import CxrzeroError, ImageError, SkippedImage
from cxrzero.images.radiograph import Facts, Radiograph
from cxrzero.prediction import Prediction
from cxrzero.score import Classifier
from cxrzero.selection import Selection
from cxrzero.sources import ImageRef

# Frames of one file that may wait in memory; a multi-frame file of thousands then needs no more than a single image.
FRAMES_AHEAD = 4

Decode = Callable[[str], Iterator[Radiograph]]
Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(slots=True)
class RunStats:
    """What a run did, filled while it goes on.

    Attributes:
        ok, failed, skipped: rows by status.
        decode_seconds: summed over all decoding threads, so it may exceed the wall time.
        encode_seconds: wall time of the encoder.
    """

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def rows(self) -> int:
        return self.ok + self.failed + self.skipped

    def count(self, status: str) -> None:
        setattr(self, status, getattr(self, status) + 1)

    def add_decode(self, seconds: float) -> None:
        with self._lock:
            self.decode_seconds += seconds


@dataclass(frozen=True, slots=True)
class _Frame:
    """A decoded frame without its full-size pixels, which only `digest` still stands for."""

    path: str
    frame: int
    facts: Facts
    flags: frozenset[str]
    digest: int
    pixel_values: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Failure:
    """A file or frame that is not scored, and why."""

    path: str
    error: ImageError
    frame: int | None = None
    flags: frozenset[str] = frozenset()


_Item = _Frame | _Failure


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, put together by `cxrzero.screener`.

    Attributes:
        decode: path → frames; raises ImageError for what becomes a failed or skipped row.
        prepare: (H, W) uint8 → (3, height, width) float32; called from several threads.
        encoder: (N, 3, height, width) → (N, D).
        batch_size: frames of one encoder call.
        workers: decoding threads.
        selection: what the user leaves out.
    """

    decode: Decode
    prepare: Prepare
    encoder: Encoder
    batch_size: int
    workers: int
    selection: Selection = field(default_factory=Selection)

    def run(
        self, refs: Iterable[ImageRef], classifier: Classifier, labels: tuple[str, ...], stats: RunStats
    ) -> Generator[Prediction, None, None]:
        """Yield one row per frame, failed or skipped file, in the order of `refs`.

        Batches follow the order of the files and the encoder gives an image the same result in every batch, so the
        rows do not depend on `workers` or `batch_size`.
        """
        items = self._read(refs, stats)
        selected = self._select(items)
        try:
            while batch := list(itertools.islice(selected, self.batch_size)):
                for row in self._score(batch, classifier, labels, stats):
                    stats.count(row.status)
                    yield row
        finally:
            items.close()

    def _score(
        self, batch: Sequence[_Item], classifier: Classifier, labels: tuple[str, ...], stats: RunStats
    ) -> Iterator[Prediction]:
        frames = [item for item in batch if isinstance(item, _Frame)]
        probabilities: Iterator[npt.NDArray[np.float32]] = iter(())
        if frames:
            started = time.perf_counter()
            image_embeds = self.encoder.encode_images(np.stack([frame.pixel_values for frame in frames]))
            stats.encode_seconds += time.perf_counter() - started
            probabilities = iter(classifier(image_embeds).probability)
        for item in batch:
            if isinstance(item, _Failure):
                facts = item.error.facts or Facts()
                yield Prediction(item.path, labels, item.error.status, item.frame, facts, item.flags, str(item.error))
            else:
                scores = dict(zip(labels, map(float, next(probabilities)), strict=True))
                yield Prediction(item.path, labels, "ok", item.frame, item.facts, item.flags, scores=scores)

    def _select(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Flag pictures seen before and turn what the user leaves out into skipped rows, before they are encoded."""
        seen: set[int] = set()
        for item in items:
            if isinstance(item, _Failure):
                yield item
                continue
            flags = item.flags | {"duplicate"} if item.digest in seen else item.flags
            seen.add(item.digest)
            try:
                self.selection.check(flags)
            except SkippedImage as reason:
                reason.facts = item.facts
                yield _Failure(item.path, reason, item.frame, flags)
            else:
                yield replace(item, flags=flags)

    def _read(self, refs: Iterable[ImageRef], stats: RunStats) -> Generator[_Item, None, None]:
        """Decode up to a window of files at once; give their frames in the order of `refs`."""
        window = self.workers + self.batch_size
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        jobs: deque[_Job] = deque()
        try:
            for ref in refs:
                job = _Job(ref, self.decode, self.prepare, stop, stats)
                pool.submit(job.run)
                jobs.append(job)
                if len(jobs) >= window:
                    yield from jobs.popleft().items()
            while jobs:
                yield from jobs.popleft().items()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


class _Job:
    """One file on its way through a decoding thread.

    Jobs start in order, so the oldest one, whose frames are being taken, always runs: a younger one that waits with a
    full queue cannot block it.
    """

    def __init__(self, ref: ImageRef, decode: Decode, prepare: Prepare, stop: threading.Event, stats: RunStats) -> None:
        self._ref = ref
        self._decode = decode
        self._prepare = prepare
        self._stop = stop
        self._stats = stats
        self._queue: Queue[_Item | BaseException | None] = Queue(FRAMES_AHEAD)

    def items(self) -> Iterator[_Item]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def run(self) -> None:
        try:
            for item in self._frames():
                self._put(item)
            self._put(None)
        except _StoppedError:
            return
        except BaseException as error:  # handed to the thread that reads the queue, which raises it
            self._put(error)

    def _frames(self) -> Iterator[_Item]:
        path = self._ref.path
        if self._ref.error is not None:
            yield _Failure(path, self._ref.error)
            return
        frame = None
        started = time.perf_counter()
        try:
            for radiograph in self._decode(path):
                frame = radiograph.frame
                pixel_values = self._prepare(radiograph.pixels)
                self._stats.add_decode(time.perf_counter() - started)
                yield _Frame(
                    path, frame, radiograph.facts, radiograph.flags, digest_of(radiograph.pixels), pixel_values
                )
                started = time.perf_counter()
        except ImageError as error:
            self._stats.add_decode(time.perf_counter() - started)
            yield _Failure(path, error, None if frame is None else frame + 1)
        except CxrzeroError:
            raise
        except Exception as error:  # one strange file must not end a run over a million; the row says what it was
            code = "out_of_memory" if isinstance(error, MemoryError) else "unexpected"
            yield _Failure(path, ImageError(code, f"{type(error).__name__} while the file was decoded"))

    def _put(self, item: _Item | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except Full:
                continue
            return
        raise _StoppedError


def digest_of(pixels: npt.NDArray[np.uint8]) -> int:
    """64 bits of a picture's content: among a million pictures two different ones collide with p = 3e-8."""
    content = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    content.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(content.digest(), "big")


class _StoppedError(Exception):
    """The run is over; the decoding thread has nobody to hand its frames to."""
