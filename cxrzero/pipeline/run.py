"""The one loop that knows all stages: files → decode and preprocess in parallel → encode in batches → rows in order.

Files that the cache knows are not opened: their frames join the stream where decoded ones would.

Memory stays flat: at most `window` files are being decoded or waiting, each through a queue of a few frames, and a
slow encoder stops the decoders (back-pressure). An encoder on a GPU runs beside the loop, one batch behind it. A file
that cannot be read is a row, never the end of the run. What this module does not know: options, tables, progress bars.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard

import numpy as np

from cxrzero.cache.images import FileRecord
from cxrzero.images.radiograph import Facts
from cxrzero.maths import Float32s
from cxrzero.model.score import Scorer
from cxrzero.pipeline.cached import Keeper, KnownFile
from cxrzero.pipeline.embedder import Embedder, embed
from cxrzero.pipeline.encoding import encoded
from cxrzero.pipeline.hashing import Blocks, as_found
from cxrzero.pipeline.items import Failure, Frame, Item, RunStats, needs_encoder
from cxrzero.pipeline.selection import Selection
from cxrzero.pipeline.threads import Job, OpenDecoders
from cxrzero.prediction import Prediction
from cxrzero.sources import ImageRef

# Frames from the cache that are scored at once.
SCORED_FRAMES = 1024
# Frames times labels of one scorer call: some 10 MB of float64 and Python numbers, whatever is asked.
SCORED_CELLS = 2**17
# Bytes of what encoders gave that are in one batch or one scorer call: of tokens a film may have megabytes.
SCORED_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, put together by `cxrzero.screener`.

    Attributes:
        open_decoders: files → frames; what cannot be read becomes a failed or skipped row.
        embedders: one for each model.
        batch_size: frames of one encoder call.
        selection: what the user leaves out.
        blocks: how films are put together that are looked up in the cache at once.
    """

    open_decoders: OpenDecoders
    embedders: tuple[Embedder, ...]
    batch_size: int
    selection: Selection = field(default_factory=Selection)
    blocks: Blocks = as_found

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
        rows depend on neither decoders nor `batch_size`. Each batch is kept before its rows are given out. `on_item` is
        called with what a row was made of, just before the row is given out.
        """
        chunks = self._read(refs, stats)
        keepers = [Keeper(each.cache, index, self.selection) for index, each in enumerate(self.embedders)]
        on_gpu = any(each.encoder.device == "cuda" for each in self.embedders)
        batches = encoded(self._batches(self._select(chunks)), partial(self._embed, stats), beside=on_gpu)
        try:
            for batch in batches:
                for keeper in keepers:
                    keeper.keep(batch)
                scored = _scored(_wanted(batch), [each.dtype for each in self.embedders], scorer, labels)
                for item, row in zip(batch, _rows(batch, scored, labels), strict=True):
                    stats.count(row.status)
                    if on_item:
                        on_item(item)
                    yield row
        finally:
            batches.close()
            chunks.close()

    def _batches(self, chunks: Iterable[list[Item]]) -> Iterator[list[Item]]:
        """Cut the stream where an encoder call is full, so that batches do not depend on what is cached between."""
        most = max(SCORED_FRAMES, self.batch_size)
        batch: list[Item] = []
        waiting = kept = 0
        for item in itertools.chain.from_iterable(chunks):
            batch.append(item)
            waiting += needs_encoder(item)
            kept += 0 if isinstance(item, Failure) else sum(map(len, item.embeddings))
            if waiting == self.batch_size or len(batch) == most or kept >= SCORED_BYTES:
                yield batch
                batch, waiting, kept = [], 0, 0
        if batch:
            yield batch

    def _embed(self, stats: RunStats, batch: list[Item]) -> list[Item]:
        frames = _wanted(batch)
        started = time.perf_counter()
        made = embed(self.embedders, [frame for frame in frames if frame.inputs])
        stats.encode_seconds += time.perf_counter() - started
        stats.embedded += made
        stats.cached += len(frames) * len(self.embedders) - made
        return batch

    def _select(self, chunks: Iterable[list[Item]]) -> Iterator[list[Item]]:
        """Flag pictures seen before and mark what the user leaves out, before anything is encoded."""
        seen: set[int] = set()
        takes_all = self.selection == Selection()
        for chunk in chunks:
            for item in chunk:
                if isinstance(item, Failure):
                    continue
                item.flags = item.own_flags | {"duplicate"} if item.digest in seen else item.own_flags
                item.left_out = None if takes_all else self.selection.reason(item.flags)
                if item.left_out is None:  # of equal pictures, the first that is scored stands for all
                    seen.add(item.digest)
                else:
                    item.inputs = []
            yield chunk

    def _read(self, refs: Iterable[ImageRef], stats: RunStats) -> Generator[list[Item], None, None]:
        """Decode up to a window of files at once; give their frames in the order of `refs`, known files' together."""
        decoders = self.open_decoders(stats)
        window = decoders.ahead + self.batch_size
        files: deque[Job | KnownFile] = deque()
        try:
            for block in self._look_up(refs, stats):
                ready: list[Item] = []
                for ref, records in block:
                    if self._is_known(records):
                        known = KnownFile(ref, records)
                        if not files:  # nothing before it is still being decoded
                            ready += known.items()
                            continue
                        files.append(known)
                    else:
                        files.append(decoders.submit(ref, records))
                    yield ready
                    ready = []
                    while files and (len(files) >= window or isinstance(files[0], KnownFile)):
                        yield from ([item] for item in files.popleft().items())
                yield ready
            while files:
                yield from ([item] for item in files.popleft().items())
        finally:
            decoders.close()

    def _look_up(
        self, refs: Iterable[ImageRef], stats: RunStats
    ) -> Iterator[Iterable[tuple[ImageRef, tuple[FileRecord | None, ...]]]]:
        """Blocks of files, each with what every model's cache knows of it."""
        caches = [embedder.cache for embedder in self.embedders]
        if all(cache is None for cache in caches):
            yield ((ref, (None,) * len(caches)) for ref in refs)
            return
        with closing(self.blocks(refs, stats)) as blocks:
            for block in blocks:
                found = [cache.lookup(block) if cache else [None] * len(block) for cache in caches]
                yield zip(block, zip(*found, strict=True), strict=True)

    def _is_known(self, records: Sequence[FileRecord | None]) -> TypeGuard[Sequence[FileRecord]]:
        """Whether every frame wanted now has all embeddings; an earlier selection may have left it out."""
        digests = set()
        for record in records:
            if record is None:
                return False
            for frame in record.frames:
                if not frame.embedding and self.selection.reason(frame.flags) is None:
                    return False
            if len(records) > 1:
                digests.add(tuple(frame.digest for frame in record.frames))
        return len(digests) <= 1


def _wanted(batch: Sequence[Item]) -> list[Frame]:
    return [item for item in batch if isinstance(item, Frame) and item.left_out is None]


def _rows(batch: Sequence[Item], scored: Iterator[dict[str, Any]], labels: Collection[str]) -> Iterator[Prediction]:
    """Make the row of each item; `scored` holds the scores of the items that have some."""
    for item in batch:
        path = item.ref.path
        if isinstance(item, Failure):
            error, facts = item.error, Facts(*item.error.facts or ())
            yield Prediction(path, labels, error.status, item.frame, facts, error=str(error), code=error.code)
        elif item.left_out is not None:
            error = item.left_out
            yield Prediction(
                path, labels, error.status, item.frame, item.facts, item.flags, str(error), code=error.code
            )
        else:
            yield Prediction(path, labels, "ok", item.frame, item.facts, item.flags, **next(scored))


def _scored(
    frames: Sequence[Frame], dtypes: Sequence[str], scorer: Scorer, labels: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Score a batch: for each image the numbers of its Prediction.

    Args:
        dtypes: of each model's embeddings.
    """
    largest = max((sum(map(len, frame.embeddings)) for frame in frames), default=0)
    block = max(1, min(SCORED_CELLS // max(1, len(labels)), SCORED_BYTES // max(1, largest)))
    for start in range(0, len(frames), block):
        yield from scorer(_side_by_side(frames[start : start + block], dtypes)).rows(labels)


def _side_by_side(frames: Sequence[Frame], dtypes: Sequence[str]) -> Float32s:
    """(N, ΣF): each model's embeddings; an ensemble's scorer takes them apart again."""
    parts = [
        np.frombuffer(b"".join(frame.embeddings[index] for frame in frames), dtype).reshape(len(frames), -1)
        for index, dtype in enumerate(dtypes)
    ]
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1), np.float32)
