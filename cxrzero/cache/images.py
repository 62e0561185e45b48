"""What is kept of an image file: for each frame its facts, flags, content digest and embedding.

The key says what decides these: which file (absolute path, size, modification time, inode), how it is decoded and
preprocessed, by which encoder, precision, backend and versions. Only a digest of all that is stored, so no path is. One
entry holds all frames of a file. Images that failed are not kept: a file may still be arriving, so it is tried again.
Of a film of another place the key has what its source says that tells its content (`cxrzero.sources.refs`): of an
instance in an archive the address, which is the service's with three UIDs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from cxrzero.cache.entries import Entries
from cxrzero.errors import SkippedImage
from cxrzero.images.radiograph import Facts
from cxrzero.sources import ImageRef

HEADER_LENGTH_BYTES = 4

_parse = json.JSONDecoder().raw_decode  # what json.loads does around it takes as long again


class StoredFrame(NamedTuple):
    """One frame as it was decoded.

    Attributes:
        flags: without "duplicate", which depends on the other images of a run.
        digest: 64 bits of the pixels' content, by which duplicates are found.
        embedding: D float32, little-endian; empty where the user's selection left the frame out before the encoder.
    """

    frame: int
    facts: Facts
    flags: frozenset[str]
    digest: int
    embedding: bytes


class FileRecord(NamedTuple):
    """All frames of a file, or why there is nothing to score in it."""

    frames: tuple[StoredFrame, ...] = ()
    skipped: SkippedImage | None = None


class ImageCache:
    """Looks files up and keeps their records.

    Args:
        entries: where, see `cxrzero.cache.entries`.
        embed_dim: D.
    """

    def __init__(self, entries: Entries, embed_dim: int) -> None:
        self._entries = entries
        self._embedding_bytes = 4 * embed_dim

    def lookup(self, refs: Sequence[ImageRef]) -> list[FileRecord | None]:
        """Look up each file's record, or None."""
        keys = [b"" if ref.is_anew else self._key(ref) for ref in refs]
        found = self._entries.get([key for key in keys if key])
        return [self._unpack(payload) if (payload := found.get(key)) else None for key in keys]

    def keep(self, records: Sequence[tuple[ImageRef, FileRecord]]) -> None:
        """Keep the records of files, all or none."""
        keyed = ((self._key(ref), record) for ref, record in records)
        payloads = {key: _pack(record) for key, record in keyed if key}
        if payloads:
            self._entries.put(payloads)

    def _key(self, ref: ImageRef) -> bytes:
        if ref.identity is None:
            return b""
        if isinstance(ref.identity, bytes):
            return self._entries.key(ref.identity)
        folder, separator, name = ref.path.rpartition(os.sep)
        return self._entries.key(b"%s/%s\0%d %d %d" % (_absolute(folder + separator), os.fsencode(name), *ref.identity))

    def _unpack(self, payload: bytes) -> FileRecord | None:
        start = HEADER_LENGTH_BYTES + int.from_bytes(payload[:HEADER_LENGTH_BYTES], "little")
        try:
            (frames, skipped), _ = _parse(str(payload[HEADER_LENGTH_BYTES:start], "ascii"))
            if skipped is not None:
                code, message, facts = skipped
                return FileRecord(skipped=SkippedImage(code, message, facts=facts and Facts._make(facts)))
            stored = []
            for frame, facts, flags, digest, has_embedding in frames:
                stop = start + self._embedding_bytes * has_embedding
                stored.append(StoredFrame(frame, Facts(*facts), frozenset(flags), digest, payload[start:stop]))
                start = stop
        except (ValueError, TypeError):  # sealed, and yet not what this version writes
            return None
        return FileRecord(tuple(stored)) if start == len(payload) else None


def _pack(record: FileRecord) -> bytes:
    skipped = record.skipped and (
        record.skipped.code,
        record.skipped.message,
        record.skipped.facts,
    )
    frames = [(f.frame, f.facts, sorted(f.flags), f.digest, bool(f.embedding)) for f in record.frames]
    header = json.dumps((frames, skipped), separators=(",", ":")).encode()
    return len(header).to_bytes(HEADER_LENGTH_BYTES, "little") + header + b"".join(f.embedding for f in record.frames)


@lru_cache(maxsize=1024)
def _absolute(folder: str) -> bytes:
    return os.fsencode(os.path.abspath(folder))
