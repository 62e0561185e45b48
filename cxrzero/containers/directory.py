"""Many members in little memory, in the order that a walk of the unpacked folder would have."""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

from cxrzero.containers.entry import FAULTS, Entry
from cxrzero.containers.limits import MAX_DIRECTORY_BYTES
from cxrzero.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NUMBERS = struct.Struct(">QQQQIHB")  # number of the member, offset, stored, size, crc, method, fault
_CODES = ("", *FAULTS)
_END = b"\0\0"  # of a name whose parts have a NUL between them


class Directory:
    """Entries sorted by their names, part by part, as bytes; of equal names by their number.

    A member takes about 170 bytes: one object for its name and numbers, and eight bytes for where it begins.

    Args:
        entries: at most `cxrzero.containers.limits.MAX_MEMBERS`.
        end: offset behind all members.

    Raises:
        ImageError: "container_too_large": their names have more than `MAX_DIRECTORY_BYTES`.
    """

    def __init__(self, entries: Iterable[Entry], end: int) -> None:
        self._end = end
        starts = array("Q")
        self._records: list[bytes] = []
        held = 0
        for number, entry in enumerate(entries):
            starts.append(entry.offset)
            self._records.append(_packed(number, entry))
            held += len(self._records[-1])
            if held > MAX_DIRECTORY_BYTES:
                raise ImageError("container_too_large", "the names in the archive file are longer than those of films")
        self._records.sort()
        self._starts = array("Q", sorted(starts))

    def __iter__(self) -> Iterator[Entry]:
        before = None
        for record in self._records:
            entry = self._entry(record)
            if entry.name == before and not entry.fault:
                entry = entry._replace(fault="member_duplicate")
            before = entry.name
            yield entry

    def find(self, name: str) -> Entry | None:
        """The first member of this name."""
        start = _key(name)
        place = bisect_left(self._records, start)
        while place < len(self._records) and self._records[place].startswith(start):
            if (entry := self._entry(self._records[place])).name == name:
                return entry
            place += 1
        return None

    def _entry(self, record: bytes) -> Entry:
        at = len(record) - _NUMBERS.size
        _, offset, stored, size, crc, method, code = _NUMBERS.unpack_from(record, at)
        name = os.fsdecode(record[: at - len(_END)].replace(b"\0", b"/"))
        after = bisect_right(self._starts, offset)
        limit = self._starts[after] if after < len(self._starts) else self._end
        fault = _CODES[code]
        if not fault and after > 1 and self._starts[after - 2] == offset:
            fault = "member_overlaps"
        return Entry(name, offset, stored, size, method, crc, limit, fault)


def _key(name: str) -> bytes:
    return os.fsencode(name).replace(b"/", b"\0") + _END


def _packed(number: int, entry: Entry) -> bytes:
    code = _CODES.index(entry.fault)
    return _key(entry.name) + _NUMBERS.pack(
        number, entry.offset, entry.stored, entry.size, entry.crc, entry.method, code
    )


class Seen:
    """Names that were there before, 64 bits of each: of two million different ones two are alike with p = 1e-7."""

    RECENT = 2**16

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._older: npt.NDArray[np.uint64] | None = None

    def add(self, name: str) -> bool:
        """Whether it was there before."""
        digest = int.from_bytes(blake2b(os.fsencode(name), digest_size=8).digest(), "big")
        if digest in self._recent or self._is_older(digest):
            return True
        self._recent.add(digest)
        if len(self._recent) == self.RECENT:
            self._merge()
        return False

    def _is_older(self, digest: int) -> bool:
        if self._older is None:
            return False
        place = int(self._older.searchsorted(self._older.dtype.type(digest)))
        return place < len(self._older) and int(self._older[place]) == digest

    def _merge(self) -> None:
        import numpy as np  # which listing a small container does not wait for

        recent = np.fromiter(self._recent, np.uint64, len(self._recent))
        self._older = np.sort(recent if self._older is None else np.concatenate([self._older, recent]))
        self._recent = set()
