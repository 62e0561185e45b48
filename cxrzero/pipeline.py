"""The one loop that knows all stages: files → decode and preprocess in parallel → encode in batches → rows in order.

Files that the cache knows are not opened: their frames join the stream where decoded ones would.

Memory stays flat: at most `window` files are being decoded or waiting, each through a queue of a few frames, and a
slow encoder stops the decoders (back-pressure). A file that cannot be read is a row, never the end of the run. What
this module does not know: options, tables, progress bars.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from cxrzero.cache.exchange import Keeper, KnownFile
from cxrzero.cache.images import FileRecord
from cxrzero.decoding import Decode, DecodeJob
from cxrzero.embedder import Embedder, embed, prepare_missing
from cxrzero.images.radiograph import Facts
from cxrzero.prediction import Prediction
from cxrzero.score import Scorer
from cxrzero.selection import Selection
from cxrzero.sources import ImageRef
from cxrzero.stream import Failure, Frame, Item, RunStats, needs_encoder

# Files that are looked up in the cache at once, and frames from the cache that are scored at once.
LOOKUP_FILES = 256
SCORED_FRAMES = 1024
# Frames times labels of one scorer call: some 10 MB of float64 and Python numbers, whatever is asked.
SCORED_CELLS = 2**17


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, put together by `cxrzero.screener`.

    Attributes:
        decode: path → frames; raises ImageError for what becomes a failed or skipped row.
        embedders: one for each model.
        batch_size: frames of one encoder call.
        workers: decoding threads.
        selection: what the user leaves out.
    """

    decode: Decode
    embedders: tuple[Embedder, ...]
    batch_size: int
    workers: int
    selection: Selection = field(default_factory=Selection)

    def run(
        self,
        refs: Iterable[ImageRef],
        scorer: Scorer,
        labels: Collection[str],
        stats: RunStats,
        on_item: Callable[[Item], None] | None = None,
    ) -> Generator[Prediction, None, None]:
        """Yield one row per frame, failed or skipped file, in the order of `refs`.

        Batches follow the order of the files and the encoder gives an image the same result in every batch, so the
        rows do not depend on `workers` or `batch_size`. Each batch is kept before its rows are given out. `on_item` is
        called with what a row was made of, just before the row is given out.
        """
        items = self._read(refs, stats)
        keepers = [Keeper(each.cache, index, self.selection) for index, each in enumerate(self.embedders)]
        try:
            for batch in self._batches(self._select(items)):
                self._embed(batch, stats)
                for keeper in keepers:
                    keeper.keep(batch)
                for item, row in zip(batch, self._score(batch, scorer, labels), strict=True):
                    stats.count(row.status)
                    if on_item:
                        on_item(item)
                    yield row
        finally:
            items.close()

    def _batches(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Cut the stream where an encoder call is full, so that batches do not depend on what is cached between."""
        batch: list[Item] = []
        waiting = 0
        for item in items:
            batch.append(item)
            waiting += needs_encoder(item)
            if waiting == self.batch_size or len(batch) == max(SCORED_FRAMES, self.batch_size):
                yield batch
                batch, waiting = [], 0
        if batch:
            yield batch

    def _embed(self, batch: Sequence[Item], stats: RunStats) -> None:
        scored = sum(isinstance(item, Frame) and item.left_out is None for item in batch)
        frames = [item for item in batch if isinstance(item, Frame) and needs_encoder(item)]
        started = time.perf_counter()
        made = embed(self.embedders, frames)
        stats.encode_seconds += time.perf_counter() - started
        stats.embedded += made
        stats.cached += scored * len(self.embedders) - made

    def _score(self, batch: Sequence[Item], scorer: Scorer, labels: Collection[str]) -> Iterator[Prediction]:
        # The models' embeddings side by side are one row: an ensemble's scorer takes it apart again.
        embeddings = [b"".join(item.embeddings) for item in batch if isinstance(item, Frame) and item.left_out is None]
        scored = _scored(embeddings, scorer, labels)
        for item in batch:
            path = item.ref.path
            if isinstance(item, Failure):
                facts = item.error.facts or Facts()
                yield Prediction(path, labels, item.error.status, item.frame, facts, error=str(item.error))
            elif item.left_out is not None:
                error = item.left_out
                yield Prediction(path, labels, error.status, item.frame, item.facts, item.flags, str(error))
            else:
                yield Prediction(path, labels, "ok", item.frame, item.facts, item.flags, **next(scored))

    def _select(self, items: Iterable[Item]) -> Iterator[Item]:
        """Flag pictures seen before and mark what the user leaves out, before anything is encoded."""
        seen: set[int] = set()
        for item in items:
            if isinstance(item, Frame):
                item.flags = item.own_flags | {"duplicate"} if item.digest in seen else item.own_flags
                item.left_out = self.selection.reason(item.flags)
                if item.left_out is None:  # of equal pictures, the first that is scored stands for all
                    seen.add(item.digest)
                if item.left_out is not None:
                    item.pixel_values = []
            yield item

    def _read(self, refs: Iterable[ImageRef], stats: RunStats) -> Generator[Item, None, None]:
        """Decode up to a window of files at once; give their frames in the order of `refs`."""
        window = self.workers + self.batch_size
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        files: deque[DecodeJob | KnownFile] = deque()
        try:
            for ref, records in self._look_up(refs):
                if (known := self._known(records)) is not None:
                    files.append(KnownFile(ref, known))
                else:
                    prepare = partial(prepare_missing, self.embedders, records)
                    job = DecodeJob(ref, self.decode, prepare, stop, stats)
                    pool.submit(job.run)
                    files.append(job)
                if len(files) >= window:
                    yield from files.popleft().items()
            while files:
                yield from files.popleft().items()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _look_up(self, refs: Iterable[ImageRef]) -> Iterator[tuple[ImageRef, tuple[FileRecord | None, ...]]]:
        """Files, each with what every model's cache knows of it."""
        stream = iter(refs)
        caches = [embedder.cache for embedder in self.embedders]
        if all(cache is None for cache in caches):
            yield from ((ref, (None,) * len(caches)) for ref in stream)
            return
        while block := list(itertools.islice(stream, LOOKUP_FILES)):
            found = [cache.lookup(block) if cache else [None] * len(block) for cache in caches]
            yield from zip(block, zip(*found, strict=True), strict=True)

    def _known(self, records: Sequence[FileRecord | None]) -> list[FileRecord] | None:
        """The records if every frame wanted now has all embeddings; an earlier selection may have left it out."""
        known = [record for record in records if record is not None]
        if len(known) < len(records):
            return None
        if len(known) > 1 and len({tuple(frame.digest for frame in record.frames) for record in known}) > 1:
            return None
        for record in known:
            for frame in record.frames:
                if not frame.embedding and self.selection.reason(frame.flags) is None:
                    return None
        return known


def _scored(embeddings: Sequence[bytes], scorer: Scorer, labels: Collection[str]) -> Iterator[dict[str, Any]]:
    """For each image the numbers of its Prediction."""
    block = max(1, SCORED_CELLS // max(1, len(labels)))
    for start in range(0, len(embeddings), block):
        some = embeddings[start : start + block]
        yield from scorer(np.frombuffer(b"".join(some), "<f4").reshape(len(some), -1)).rows(labels)
