"""A member: where in its container it is, and what is wrong with it."""

from __future__ import annotations

import os
from typing import NamedTuple

from cxrzero.errors import ImageError

# What a member is refused for without a look at its bytes; part of the codes of docs/images.md.
FAULTS = {
    "member_name": "the name leads out of the archive file or is no plain path (.., /, \\, a drive, an empty part)",
    "member_link": "a link, which is not followed; pack the film itself (tar --dereference --hard-dereference)",
    "member_not_a_file": "a device, pipe or other thing that is no file",
    "member_encrypted": "it is encrypted; decrypt the archive file first",
    "member_nested": "an archive file inside of an archive file is not opened; unpack it first",
    "member_duplicate": "an earlier member of the archive file has the same name",
    "member_sparse": "it is stored with holes (a sparse file); pack it without",
    "member_compression": "it is compressed by a method that is not read; stored and deflated members are",
    "member_too_large": "it is, or claims to become, larger than any film, or is compressed more than any film can be",
    "member_overlaps": "its bytes are also those of another member",
    "member_mismatch": "what the archive file says of it in two places does not agree",
}


class Entry(NamedTuple):
    """A member as its container's directory states it.

    Attributes:
        name: with "/" between its parts.
        offset: in a .zip file of its local header; in a .tar file of its content.
        stored: bytes in the container.
        size: bytes of its content.
        method: 0 as it is, 8 deflated.
        crc: CRC-32 of its content; 0 in a .tar file, which has none.
        limit: offset where something else begins; nothing of it lies beyond.
        fault: one of FAULTS, or empty.
    """

    name: str
    offset: int
    stored: int
    size: int
    method: int = 0
    crc: int = 0
    limit: int = 0
    fault: str = ""

    def error(self) -> ImageError | None:
        """Why it is not read."""
        return ImageError(self.fault, FAULTS[self.fault]) if self.fault else None

    def identity(self, container: bytes) -> bytes:
        """All that tells its content, in a container of that identity."""
        numbers = b"%d %d %d %d %d %d" % self[1:7]
        return b"\0".join((b"member", container, os.fsencode(self.name), numbers))


def entry_of(identity: bytes, container: bytes, name: str) -> Entry:
    """The entry that `Entry.identity` was made of.

    Raises:
        ImageError: "container_changed": it was made for another content of the container.
    """
    from cxrzero.containers.blob import CHANGED

    before, _, numbers = identity.rpartition(b"\0")
    if before != b"\0".join((b"member", container, os.fsencode(name))):
        raise ImageError("container_changed", CHANGED)
    offset, stored, size, method, crc, limit = map(int, numbers.split())
    return Entry(name, offset, stored, size, method, crc, limit)
