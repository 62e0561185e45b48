"""A film that was found, and what tells its content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cxrzero.display.counts import counted
from cxrzero.errors import ImageError

if TYPE_CHECKING:
    from cxrzero.sources.pictures import Picture

FILES_ONLY = (
    "this reads files, and not from an archive: fetch its films first, with cxrzero predict ADDRESS --keep-files DIR, "
    "and give DIR"
)
NO_OBJECTS = (
    "this reads files, and not from a store: copy its films here first, and give their folder; see docs/places.md"
)

FileIdentity = tuple[int, int, int]


def identity_of(status: os.stat_result) -> FileIdentity:
    """(size in bytes, modification time in ns, inode): what changes when a file's content does."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def archived(address: str) -> bytes:
    """The identity of an instance in an archive: its address, of which no other content may ever be (PS3.5, 9)."""
    return b"archive\0" + os.fsencode(address)


class ImageRef(NamedTuple):
    """A file, or a film of another place, that becomes one row or more.

    Attributes:
        path: as found under the argument given; of other places see `cxrzero.places`.
        error: set when it is known already that the file cannot be opened.
        identity: what tells its content. Of a file of this machine what its folder says of it; of all others bytes that
            have all of it, the place included, and whoever reads such a film finds out whether it still is that one.
            None where nothing is known, and nothing is then cached.
        position: among all files of the walk, from 0; None where nobody counts (`cxrzero.predict.shardlog` does).
        is_anew: whether it is read though the cache knows it.
        content: digest of its bytes, where it was hashed (`cxrzero.cache.contents`).
        picture: of a program, in place of a film at the path, which is then only its name.
    """

    path: str
    error: ImageError | None = None
    identity: FileIdentity | bytes | None = None
    position: int | None = None
    is_anew: bool = False
    content: bytes | None = None
    picture: Picture | None = None


@dataclass(slots=True)
class WalkCounts:
    """Counted while walking.

    Attributes:
        found: films, or what stands for some that cannot be had.
        ignored: other files.
        unopened: of these, archive files (.zip, .tar) in folders, which are opened where they are named only.
    """

    found: int = 0
    ignored: int = 0
    unopened: int = 0

    def left_out(self) -> str:
        """What was ignored, in words."""
        named = f", among them {counted(self.unopened, 'archive file')} (.zip, .tar), read only where named"
        return f"{counted(self.ignored, 'other file')} ignored{named if self.unopened else ''}"
