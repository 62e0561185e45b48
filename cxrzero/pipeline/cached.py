"""Between the pipeline and the cache: files that it knows join the stream, files that were embedded are handed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cxrzero.cache.images import FileRecord, StoredFrame
from cxrzero.errors import SkippedImage
from cxrzero.pipeline.items import Failure, Frame, Item
from cxrzero.pipeline.selection import Selection
from cxrzero.sources import ImageRef


class Cache(Protocol):
    """What the pipeline asks of `cxrzero.cache.images.ImageCache`."""

    def lookup(self, refs: Sequence[ImageRef]) -> list[FileRecord | None]: ...

    def keep(self, records: Sequence[tuple[ImageRef, FileRecord]]) -> None: ...


class KnownFile:
    """One file that the cache of every model knows; the records differ in their embeddings only."""

    def __init__(self, ref: ImageRef, records: Sequence[FileRecord]) -> None:
        self._ref = ref
        self._records = records

    def items(self) -> list[Item]:
        first = self._records[0]
        if first.skipped is not None:
            return [Failure(self._ref, first.skipped)]
        if len(self._records) == 1:
            embeddings = [[frame.embedding] for frame in first.frames]
        else:
            frames = zip(*(record.frames for record in self._records), strict=True)
            embeddings = [[frame.embedding for frame in same] for same in frames]
        return [
            Frame(self._ref, frame, facts, flags, digest, [], embedding, True)
            for (frame, facts, flags, digest, _), embedding in zip(first.frames, embeddings, strict=True)
        ]


class Keeper:
    """Puts the frames of decoded files together and hands complete files to one model's cache, once per batch.

    Args:
        index: of the model among those of a frame.
    """

    def __init__(self, cache: Cache | None, index: int, selection: Selection) -> None:
        self._cache = cache
        self._index = index
        self._selection = selection
        self._frames: list[StoredFrame] = []
        self._is_complete = True

    def keep(self, batch: Sequence[Item]) -> None:
        if self._cache is None:
            return
        records: list[tuple[ImageRef, FileRecord]] = []
        for item in batch:
            if isinstance(item, Failure):
                self._frames = []
                if item.is_unchanged and isinstance(item.error, SkippedImage) and item.frame is None:
                    records.append((item.ref, FileRecord(skipped=item.error)))
            elif not item.is_known and (item.frame == 1 or self._frames):
                self._add(item, records)
        self._cache.keep(records)

    def _add(self, item: Frame, records: list[tuple[ImageRef, FileRecord]]) -> None:
        if item.frame == 1:
            self._frames, self._is_complete = [], True
        embedding = item.embeddings[self._index]
        # Left out only because an equal picture came before it: another run may meet them in another order.
        self._is_complete &= bool(embedding) or self._selection.reason(item.own_flags) is not None
        self._frames.append(StoredFrame(item.frame, item.facts, item.own_flags, item.digest, embedding))
        if item.is_last:
            if item.is_unchanged and self._is_complete:
                records.append((item.ref, FileRecord(tuple(self._frames))))
            self._frames = []
