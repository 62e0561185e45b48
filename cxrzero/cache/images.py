"""What is kept of an image file: for each frame its facts, flags, content digest and embedding.

The key says what decides these: which film, how it is decoded and preprocessed, by which encoder, precision, backend
and versions. Which film is told by its place (`cxrzero.cache.contents.place_of`), or by its content where that was
hashed; a film that is kept by the one is found by the other as soon as both are known. Only a digest of all that is
stored, so no path is, and nothing in a record depends on a path. One entry holds all frames of a file. Images that
failed are not kept: a file may still be arriving, so it is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cxrzero.cache.contents import Contents, is_hashed, place_of
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
        embedding: what the encoder gave, little-endian: D float32, or tokens in their bundle's dtype; empty where the
            user's selection left the frame out before the encoder.
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
        film_bytes: of an embedding.
        contents: what is in films that are told by their places.
    """

    def __init__(self, entries: Entries, film_bytes: int, contents: Contents) -> None:
        self._entries, self._contents = entries, contents
        self._embedding_bytes = film_bytes

    def lookup(self, refs: Sequence[ImageRef]) -> list[FileRecord | None]:
        """Look up each file's record, or None."""
        keys = [b"" if ref.is_anew else self._key(ref) for ref in refs]
        found = self._entries.get([key for key in keys if key])
        found |= self._kept_otherwise((ref, key) for ref, key in zip(refs, keys, strict=True) if key not in found)
        return [self._unpack(payload) if (payload := found.get(key)) else None for key in keys]

    def keep(self, records: Sequence[tuple[ImageRef, FileRecord]]) -> None:
        """Keep the records of files, all or none."""
        keyed = ((self._key(ref), record) for ref, record in records)
        payloads = {key: _pack(record) for key, record in keyed if key}
        if payloads:
            self._entries.put(payloads)

    def _key(self, ref: ImageRef) -> bytes:
        if ref.content is not None:
            return self._by_content(ref.content)
        place = place_of(ref)
        return self._entries.key(place) if place else b""

    def _by_content(self, content: bytes) -> bytes:
        return self._entries.key(b"content\0" + content)

    def _kept_otherwise(self, missing: Iterable[tuple[ImageRef, bytes]]) -> dict[bytes, bytes]:
        """Payloads by the keys given that are there under the other key of a film.

        What is there by place is kept by content too, and from then on found wherever the film goes.
        """
        films = [(ref, key) for ref, key in missing if key]
        if not films:
            return {}
        contents = self._contents.lookup(
            [place_of(ref) if ref.content is None and is_hashed(ref) else b"" for ref, _ in films]
        )
        others = {}
        for (ref, key), content in zip(films, contents, strict=True):
            if ref.content is not None:
                if place := place_of(ref):
                    others[key] = self._entries.key(place)
            elif content is not None:
                others[key] = self._by_content(content)
        payloads = self._entries.get(list(others.values()))
        found = {key: payloads[other] for key, other in others.items() if other in payloads}
        hashed = {key for ref, key in films if ref.content is not None}
        if new := {key: payload for key, payload in found.items() if key in hashed}:
            self._entries.put(new)
        return found

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
