"""What is in a film's file: an index from its place to a digest of its bytes, so that a file is hashed once.

A film may be kept by its content (`--cache-by content`), and is then known wherever it is moved, copied or mounted. The
digest is of all bytes: a UID alone is not, for nobody prevents that two contents have one. Who can write films could
write two of one digest only by breaking BLAKE2b. The index has of a place the key that its embedding would have by
path, and so knows no path either.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cxrzero.cache.entries import Entries
from cxrzero.cache.store import CONTENT, Store
from cxrzero.places.kind import is_local
from cxrzero.places.members import parse_member
from cxrzero.sources import ImageRef, identity_of

CONTENT_BYTES = 32
# A file that changes twice within the resolution of its system's clock looks the same after both: 2 s on FAT, 1 s or
# less elsewhere. Of one that changed just now nobody can say whether what is decoded is what was hashed.
SETTLED_AFTER_NS = 2_000_000_000


class Hashed(NamedTuple):
    """What is in a file.

    Attributes:
        content: BLAKE2b of its bytes; None where it cannot be read, or is no longer the file that was found.
        is_settled: whether its place tells when that changes.
    """

    content: bytes | None
    is_settled: bool = False


def is_hashed(ref: ImageRef) -> bool:
    """Whether its bytes are here: those of a file, or of a film in a .zip or .tar file. What is elsewhere is told by
    what its source says of it."""
    return isinstance(ref.identity, tuple) or (ref.identity is not None and is_local(ref.path))


def hash_film(ref: ImageRef, content_of: Callable[[ImageRef], bytes]) -> Hashed:
    """Read a film of this machine from begin to end; for any thread. What is wrong with it is said by its decoder.

    Args:
        content_of: reads a film in a .zip or .tar file, see `cxrzero.sources.reader.Reader.content`.
    """
    try:
        content, changed_ns = _of_file(ref) if isinstance(ref.identity, tuple) else _of_member(ref, content_of)
    except Exception:  # one strange film must not end a run: its decoder comes to the same, and the row says what it is
        return Hashed(None)
    return Hashed(content, abs(time.time_ns() - changed_ns) > SETTLED_AFTER_NS)


def _of_file(ref: ImageRef) -> tuple[bytes | None, int]:
    """(digest, time of the last change in ns)."""
    with open(ref.path, "rb", buffering=0) as file:
        found = identity_of(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=CONTENT_BYTES))
        read = identity_of(os.fstat(file.fileno()))
    return digest.digest() if found == read == ref.identity else None, read[1]


def _of_member(ref: ImageRef, content_of: Callable[[ImageRef], bytes]) -> tuple[bytes, int]:
    content = content_of(ref)
    changed_ns = os.stat(parse_member(ref.path).container).st_mtime_ns
    return hashlib.blake2b(content, digest_size=CONTENT_BYTES).digest(), changed_ns


def place_of(ref: ImageRef) -> bytes:
    """Words that tell a film by its place, or nothing where its place does not tell it.

    Of a file of this machine: absolute path, size, modification time, inode. Of another place what its source says that
    tells its content (`cxrzero.sources.refs`).
    """
    if ref.identity is None:
        return b""
    if isinstance(ref.identity, bytes):
        return ref.identity
    folder, separator, name = ref.path.rpartition(os.sep)
    return b"%s/%s\0%d %d %d" % (_absolute(folder + separator), os.fsencode(name), *ref.identity)


class Contents:
    """The index, in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries = Entries(store, CONTENT, "", {"content": f"blake2b-{CONTENT_BYTES}"})

    @property
    def alive(self) -> bool:
        return self._store.alive

    def lookup(self, places: Sequence[bytes]) -> list[bytes | None]:
        """What is in the film at each place, see `place_of`; None where that is not known."""
        keys = [self._entries.key(place) if place else b"" for place in places]
        found = self._entries.get([key for key in keys if key])
        contents = (found.get(key) for key in keys)
        return [content if content and len(content) == CONTENT_BYTES else None for content in contents]

    def keep(self, contents: Mapping[bytes, bytes]) -> None:
        """Remember what is in the films at some places."""
        if contents:
            self._entries.put({self._entries.key(place): content for place, content in contents.items()})


@lru_cache(maxsize=1024)
def _absolute(folder: str) -> bytes:
    return os.fsencode(os.path.abspath(folder))
