"""The one loop that knows all stages: files → decode and preprocess in parallel → encode in batches → rows in order.

Files that the cache knows are not opened: their frames join the stream where decoded ones would.

Memory stays flat: at most `window` files are being decoded or waiting, each through a queue of a few frames, and a
slow encoder stops the decoders (back-pressure). A file that cannot be read is a row, never the end of the run. What
this module does not know: options, tables, progress bars.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Full, Queue
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cxrzero.backends import Encoder
from cxrzero.cache.images import FileRecord, StoredFrame
from cxrzero.errors import CxrzeroError, ImageError, SkippedImage
from cxrzero.images.radiograph import Facts, Radiograph
from cxrzero.prediction import Prediction
from cxrzero.score import Classifier
from cxrzero.selection import Selection
from cxrzero.sources import ImageRef, identity_of

# Frames of one file that may wait in memory; a multi-frame file of thousands then needs no more than a single image.
FRAMES_AHEAD = 4
# Files that are looked up in the cache at once, and frames from the cache that are scored at once.
LOOKUP_FILES = 256
SCORED_FRAMES = 1024

Decode = Callable[[str], Iterator[Radiograph]]
Prepare = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(slots=True)
class RunStats:
    """What a run did, filled while it goes on.

    Attributes:
        ok, failed, skipped: rows by status.
        decode_seconds: summed over all decoding threads, so it may exceed the wall time.
        encode_seconds: wall time of the encoder.
        cached, embedded: scored frames whose embedding was there already, and those that went through the encoder.
    """

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    cached: int = 0
    embedded: int = 0
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


class Cache(Protocol):
    """What the pipeline asks of `cxrzero.cache.images.ImageCache`."""

    def lookup(self, refs: Sequence[ImageRef]) -> list[FileRecord | None]: ...

    def keep(self, records: Sequence[tuple[ImageRef, FileRecord]]) -> None: ...


@dataclass(slots=True)
class _Frame:
    """A frame without its full-size pixels, which only `digest` still stands for.

    Attributes:
        pixel_values: (3, height, width); None when `embedding`, D float32 as bytes, came from the cache.
        flags: with "duplicate" once the frame has been compared with those before it; own_flags stay without.
        is_last, is_unchanged: set on a decoded file's last frame, when the file is still what it was when found.
        left_out: why the user's selection does not want it.
    """

    ref: ImageRef
    frame: int
    facts: Facts
    own_flags: frozenset[str]
    digest: int
    pixel_values: npt.NDArray[np.float32] | None = None
    embedding: bytes = b""
    is_last: bool = False
    is_unchanged: bool = False
    flags: frozenset[str] = frozenset()
    left_out: SkippedImage | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A file or frame that is not scored, and why."""

    ref: ImageRef
    error: ImageError
    frame: int | None = None
    is_unchanged: bool = False


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
        cache: embeddings of earlier runs; None neither asks nor keeps.
    """

    decode: Decode
    prepare: Prepare
    encoder: Encoder
    batch_size: int
    workers: int
    selection: Selection = field(default_factory=Selection)
    cache: Cache | None = None

    def run(
        self, refs: Iterable[ImageRef], classifier: Classifier, labels: tuple[str, ...], stats: RunStats
    ) -> Generator[Prediction, None, None]:
        """Yield one row per frame, failed or skipped file, in the order of `refs`.

        Batches follow the order of the files and the encoder gives an image the same result in every batch, so the
        rows do not depend on `workers` or `batch_size`. Each batch is kept before its rows are given out.
        """
        items = self._read(refs, stats)
        keeper = _Keeper(self.cache, self.selection)
        try:
            for batch in self._batches(self._select(items)):
                self._embed(batch, stats)
                keeper.keep(batch)
                for row in self._score(batch, classifier, labels):
                    stats.count(row.status)
                    yield row
        finally:
            items.close()

    def _batches(self, items: Iterable[_Item]) -> Iterator[list[_Item]]:
        """Cut the stream where an encoder call is full, so that batches do not depend on what is cached between."""
        batch: list[_Item] = []
        waiting = 0
        for item in items:
            batch.append(item)
            waiting += _needs_encoder(item)
            if waiting == self.batch_size or len(batch) == max(SCORED_FRAMES, self.batch_size):
                yield batch
                batch, waiting = [], 0
        if batch:
            yield batch

    def _embed(self, batch: Sequence[_Item], stats: RunStats) -> None:
        frames = [item for item in batch if isinstance(item, _Frame) and _needs_encoder(item)]
        pixel_values = [frame.pixel_values for frame in frames if frame.pixel_values is not None]
        scored = sum(isinstance(item, _Frame) and item.left_out is None for item in batch)
        stats.cached += scored - len(frames)
        stats.embedded += len(frames)
        if not frames:
            return
        started = time.perf_counter()
        image_embeds = self.encoder.encode_images(np.stack(pixel_values))
        stats.encode_seconds += time.perf_counter() - started
        for frame, row in zip(frames, image_embeds, strict=True):
            frame.embedding, frame.pixel_values = row.astype("<f4").tobytes(), None

    def _score(self, batch: Sequence[_Item], classifier: Classifier, labels: tuple[str, ...]) -> Iterator[Prediction]:
        embeddings = [item.embedding for item in batch if isinstance(item, _Frame) and item.left_out is None]
        probabilities: Iterator[list[float]] = iter(())
        if embeddings:
            image_embeds = np.frombuffer(b"".join(embeddings), "<f4").reshape(len(embeddings), -1)
            probabilities = iter(classifier(image_embeds).probability.tolist())
        for item in batch:
            path = item.ref.path
            if isinstance(item, _Failure):
                facts = item.error.facts or Facts()
                yield Prediction(path, labels, item.error.status, item.frame, facts, error=str(item.error))
            elif item.left_out is not None:
                error = item.left_out
                yield Prediction(path, labels, error.status, item.frame, item.facts, item.flags, str(error))
            else:
                scores = dict(zip(labels, next(probabilities), strict=True))
                yield Prediction(path, labels, "ok", item.frame, item.facts, item.flags, scores=scores)

    def _select(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Flag pictures seen before and mark what the user leaves out, before anything is encoded."""
        seen: set[int] = set()
        for item in items:
            if isinstance(item, _Frame):
                item.flags = item.own_flags | {"duplicate"} if item.digest in seen else item.own_flags
                seen.add(item.digest)
                item.left_out = self.selection.reason(item.flags)
                if item.left_out is not None:
                    item.pixel_values = None
            yield item

    def _read(self, refs: Iterable[ImageRef], stats: RunStats) -> Generator[_Item, None, None]:
        """Decode up to a window of files at once; give their frames in the order of `refs`."""
        window = self.workers + self.batch_size
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        files: deque[_Job | _Hit] = deque()
        try:
            for ref, record in self._look_up(refs):
                if record is not None:
                    files.append(_Hit(ref, record))
                else:
                    job = _Job(ref, self.decode, self.prepare, stop, stats)
                    pool.submit(job.run)
                    files.append(job)
                if len(files) >= window:
                    yield from files.popleft().items()
            while files:
                yield from files.popleft().items()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _look_up(self, refs: Iterable[ImageRef]) -> Iterator[tuple[ImageRef, FileRecord | None]]:
        if self.cache is None:
            yield from ((ref, None) for ref in refs)
            return
        stream = iter(refs)
        while block := list(itertools.islice(stream, LOOKUP_FILES)):
            for ref, record in zip(block, self.cache.lookup(block), strict=True):
                yield ref, record if record is not None and self._suffices(record) else None

    def _suffices(self, record: FileRecord) -> bool:
        """Whether every frame that is wanted now has an embedding; an earlier selection may have left it out."""
        return all(frame.embedding or self.selection.reason(frame.flags) is not None for frame in record.frames)


def _needs_encoder(item: _Item) -> bool:
    return isinstance(item, _Frame) and item.pixel_values is not None


class _Keeper:
    """Puts the frames of decoded files together and hands complete files to the cache, once per batch."""

    def __init__(self, cache: Cache | None, selection: Selection) -> None:
        self._cache = cache
        self._selection = selection
        self._frames: list[StoredFrame] = []
        self._is_complete = True

    def keep(self, batch: Sequence[_Item]) -> None:
        if self._cache is None:
            return
        records: list[tuple[ImageRef, FileRecord]] = []
        for item in batch:
            if isinstance(item, _Failure):
                self._frames = []
                if item.is_unchanged and isinstance(item.error, SkippedImage) and item.frame is None:
                    records.append((item.ref, FileRecord(skipped=item.error)))
            elif item.frame == 1 or self._frames:
                self._add(item, records)
        self._cache.keep(records)

    def _add(self, item: _Frame, records: list[tuple[ImageRef, FileRecord]]) -> None:
        if item.frame == 1:
            self._frames, self._is_complete = [], True
        # Left out only because an equal picture came before it: another run may meet them in another order.
        self._is_complete &= bool(item.embedding) or self._selection.reason(item.own_flags) is not None
        self._frames.append(StoredFrame(item.frame, item.facts, item.own_flags, item.digest, item.embedding))
        if item.is_last:
            if item.is_unchanged and self._is_complete:
                records.append((item.ref, FileRecord(tuple(self._frames))))
            self._frames = []


class _Hit:
    """One file that the cache knows."""

    def __init__(self, ref: ImageRef, record: FileRecord) -> None:
        self._ref = ref
        self._record = record

    def items(self) -> Iterator[_Item]:
        if self._record.skipped is not None:
            yield _Failure(self._ref, self._record.skipped)
        for f in self._record.frames:
            yield _Frame(self._ref, f.frame, f.facts, f.flags, f.digest, embedding=f.embedding)


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
        ref = self._ref
        if ref.error is not None:
            yield _Failure(ref, ref.error)
            return
        frame = None
        started = time.perf_counter()
        try:
            for radiograph in self._decode(ref.path):
                frame = radiograph.frame
                pixel_values = self._prepare(radiograph.pixels)
                item = _Frame(
                    ref, frame, radiograph.facts, radiograph.flags, digest_of(radiograph.pixels), pixel_values
                )
                item.is_last = frame == radiograph.n_frames
                item.is_unchanged = item.is_last and _is_unchanged(ref)
                self._stats.add_decode(time.perf_counter() - started)
                yield item
                started = time.perf_counter()
        except ImageError as error:
            self._stats.add_decode(time.perf_counter() - started)
            yield _Failure(ref, error, None if frame is None else frame + 1, _is_unchanged(ref))
        except CxrzeroError:
            raise
        except Exception as error:  # one strange file must not end a run over a million; the row says what it was
            code = "out_of_memory" if isinstance(error, MemoryError) else "unexpected"
            yield _Failure(ref, ImageError(code, f"{type(error).__name__} while the file was decoded"))

    def _put(self, item: _Item | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except Full:
                continue
            return
        raise _StoppedError


def _is_unchanged(ref: ImageRef) -> bool:
    """Whether the file that was just read is still the one that was found, so that its record may be kept."""
    try:
        return ref.identity is not None and identity_of(os.stat(ref.path)) == ref.identity
    except OSError:
        return False


def digest_of(pixels: npt.NDArray[np.uint8]) -> int:
    """64 bits of a picture's content: among a million pictures two different ones collide with p = 3e-8."""
    content = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    content.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(content.digest(), "big")


class _StoppedError(Exception):
    """The run is over; the decoding thread has nobody to hand its frames to."""
