"""The directory of a .zip file, and its members' bytes (APPNOTE.TXT 6.3.10 of PKWARE).

A .zip file says everything twice: in its directory at the end, and in front of each member. What is read here is the
directory; a member whose own header says something else is refused, for no two programs read such a file alike.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from cxrzero.containers.blob import Blob
from cxrzero.containers.directory import Directory
from cxrzero.containers.entry import FAULTS, Entry
from cxrzero.containers.limits import (
    DEFLATE_RATIO,
    MAX_DIRECTORY_BYTES,
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    MAX_RATIO,
    RATIO_FREE_BYTES,
)
from cxrzero.containers.names import is_nested, is_safe, plain, shown
from cxrzero.errors import ImageError

# 4.3.7, 4.3.12, 4.3.14 to 4.3.16: signature, then versions (two, or one before), flags, method, time, date, CRC-32,
# bytes stored, bytes, lengths of name and extra fields; of the directory also of the comment, disk, attributes, offset.
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCAL_START, _CENTRAL_START, _END_START = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_LOCATOR_START, _END64_START = b"PK\6\7", b"PK\6\6"
_MAX_COMMENT = 0xFFFF
_IN_64_BITS, _SHORT_IN_64_BITS = 0xFFFFFFFF, 0xFFFF  # what stands where the number itself stands in a ZIP64 field
_ZIP64_FIELD = 0x0001  # 4.5.3
# 4.4.4: bits 0, 6 and 13 are of encryption; sizes come behind the member; the name is UTF-8.
_ENCRYPTED, _SIZES_BEHIND, _UTF8 = 0x2041, 0x0008, 0x0800
_UNIX, _MACOS = 3, 19  # 4.4.2: whose attributes have a file's mode
_CHUNK = 2**20
# Deflate adds a thousandth to what it cannot compress (RFC 1951, 3.2.4), and some bytes where a packer flushes.
SMALLEST_DEFLATED = 2**16
STORED, DEFLATED = 0, 8
# Bytes of a member's own extra fields: times and owners of Info-ZIP take 28, ZIP64 20. More cost a second read.
_USUAL_EXTRA = 64
_TO_INFLATE = 512  # bytes more than are wanted, for the tables in front of them (RFC 1951, 3.2.7)


def read_directory(blob: Blob) -> Directory:
    """The members of a .zip file, none of which is looked at.

    Raises:
        ImageError: "container_broken", "container_truncated", "container_too_large", "container_unsupported";
            "unreadable".
    """
    count, size, start, shift = _end_of(blob)
    return Directory(_entries(blob, count, size, start, shift), start)


def read_member(blob: Blob, entry: Entry, most: int | None = None) -> bytes:
    """The content of a member, checked by its CRC; or its first bytes, unchecked.

    Args:
        most: how many bytes are wanted; None for all.

    Raises:
        ImageError: "member_mismatch", "member_overlaps", "member_corrupt"; "unreadable".
    """
    wanted = entry.stored if most is None else min(entry.stored, most + _TO_INFLATE)
    stored = _stored(blob, entry, wanted)
    if most is not None:
        return stored[:most] if entry.method == STORED else _inflated(stored, most)[0]
    if len(stored) < entry.stored:
        raise _corrupt("the archive file ends in it")
    content, is_whole = (stored, True) if entry.method == STORED else _inflated(stored, entry.size)
    if not is_whole or len(content) != entry.size:
        raise _corrupt("it does not become as long as the archive file says")
    if zlib.crc32(content) != entry.crc:
        raise _corrupt("its checksum (CRC-32) is not the stated one")
    return content


def _inflated(stored: bytes, most: int) -> tuple[bytes, bool]:
    """At most so many bytes, and whether this is all."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(stored, max(most, 1))  # 0 is no limit
        more = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error:
        raise _corrupt("its compressed bytes are damaged") from None
    return content, inflater.eof and not more


def _stored(blob: Blob, entry: Entry, size: int) -> bytes:
    """The first bytes of a member as they are stored, after a look at its own header; one read does for nearly all."""
    guess = min(_LOCAL.size + len(os.fsencode(entry.name)) + _USUAL_EXTRA + size, entry.limit - entry.offset)
    found = blob.read(entry.offset, guess)
    if len(found) < _LOCAL.size or not found.startswith(_LOCAL_START):
        raise ImageError("member_mismatch", "there is no member where the archive file says that one begins")
    name_length, extra_length = _LOCAL.unpack_from(found)[-2:]
    start = _LOCAL.size + name_length + extra_length
    if len(found) < start:
        found = blob.read(entry.offset, start + size)
    _compare(entry, found[:start])
    if entry.offset + start + entry.stored > entry.limit:
        raise ImageError("member_overlaps", FAULTS["member_overlaps"])
    stored = found[start : start + size]
    return stored if len(stored) == size else blob.read(entry.offset + start, size)


def _compare(entry: Entry, header: bytes) -> None:
    """Raise ImageError if a member's own header says something else than the directory."""
    _, _, flags, method, _, _, crc, stored, size, name_length, _ = _LOCAL.unpack_from(header)
    name, extra = header[_LOCAL.size :][:name_length], header[_LOCAL.size + name_length :]
    is_same = plain(_decoded(name, flags)) == entry.name and method == entry.method and not flags & _ENCRYPTED
    size, stored = _in_64_bits(extra, size, stored)
    if not flags & _SIZES_BEHIND or any((crc, stored, size)):
        is_same = is_same and (crc, stored, size) == (entry.crc, entry.stored, entry.size)
    if not is_same:
        raise ImageError("member_mismatch", FAULTS["member_mismatch"])


def _end_of(blob: Blob) -> tuple[int, int, int, int]:
    """(number of members, bytes of the directory, where it begins, bytes before what offsets count from)."""
    tail_at = max(0, blob.size - _MAX_COMMENT - _END.size - _END64_LOCATOR.size)
    tail = blob.read(tail_at, blob.size - tail_at)
    at = _place_of_end(tail)
    if at < 0:
        if _END_START in tail:
            raise _broken("the .zip file goes on behind its end, or its end is damaged")
        if blob.read(0, len(_LOCAL_START)) == _LOCAL_START:
            raise ImageError("container_truncated", "the .zip file has no end: it was cut off, or is still arriving")
        raise _broken("the file is no .zip file, whatever its name says")
    _, disk, of_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
    end, before = tail_at + at, at - _END64_LOCATOR.size
    if before >= 0 and tail.startswith(_END64_LOCATOR_START, before):
        found = _end64(blob, tail[before:at], end - _END64_LOCATOR.size)
        full = _SHORT_IN_64_BITS, _IN_64_BITS, _IN_64_BITS
        if any(one not in numbers for one, *numbers in zip((count, size, offset), found[:3], full, strict=True)):
            raise _broken("the two ends of the .zip file's directory say different things")
        count, size, offset, end = found
    elif disk or of_disk or here != count:
        raise ImageError("container_unsupported", "the .zip file is one part of several; join them first")
    start = end - size
    if offset > start or size < count * _CENTRAL.size:
        raise _broken("the .zip file's directory is not where its end says")
    if count > MAX_MEMBERS or size > MAX_DIRECTORY_BYTES:
        raise ImageError("container_too_large", f"the .zip file has more than {MAX_MEMBERS:,} members, or claims it")
    return count, size, start, start - offset


def _place_of_end(tail: bytes) -> int:
    """Where the last record stands, whose comment ends with the file; -1 where none does."""
    at = tail.rfind(_END_START, 0, max(0, len(tail) - _END.size + len(_END_START)))
    while at >= 0 and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail):
        at = tail.rfind(_END_START, 0, at + len(_END_START) - 1)
    return at


def _end64(blob: Blob, locator: bytes, locator_at: int) -> tuple[int, int, int, int]:
    """(number of members, bytes of the directory, its stated offset, where this end begins) of 4.3.14."""
    _, disk, _, disks = _END64_LOCATOR.unpack(locator)
    at = locator_at - _END64.size
    record = blob.read(at, _END64.size) if at >= 0 else b""
    if len(record) < _END64.size or not record.startswith(_END64_START):
        raise _broken("the ZIP64 end of the .zip file's directory is missing")
    _, _, _, _, one, other, here, count, size, offset = _END64.unpack(record)
    if disk or disks > 1 or one or other or here != count:
        raise ImageError("container_unsupported", "the .zip file is one part of several; join them first")
    return count, size, offset, at


def _entries(blob: Blob, count: int, size: int, start: int, shift: int) -> Iterator[Entry]:
    buffer, at, read = b"", 0, 0
    for _ in range(count):
        if len(buffer) - at < _CENTRAL.size + 3 * 0xFFFF and read < size:
            more = blob.read(start + read, min(_CHUNK, size - read))
            if not more:
                raise ImageError("container_truncated", "the .zip file ends in its directory")
            buffer, at, read = buffer[at:] + more, 0, read + len(more)
        if not buffer.startswith(_CENTRAL_START, at) or len(buffer) - at < _CENTRAL.size:
            raise _broken("the .zip file's directory is damaged")
        fields = _CENTRAL.unpack_from(buffer, at)
        lengths = fields[10:13]
        at += _CENTRAL.size
        name, extra = buffer[at : at + lengths[0]], buffer[at + lengths[0] : at + lengths[0] + lengths[1]]
        at += sum(lengths)
        if at > len(buffer):
            raise _broken("the .zip file's directory is damaged")
        if not name.endswith(b"/"):
            yield _entry(fields, name, extra, start, shift)
    if read < size or at != len(buffer):
        raise _broken("the .zip file's directory has more members than its end says")


def _entry(fields: tuple[Any, ...], raw_name: bytes, extra: bytes, directory: int, shift: int) -> Entry:
    _, made_by, _, flags, method, _, _, crc, stored, size, _, _, _, disk, _, attributes, offset = fields
    size, stored, offset = _in_64_bits(extra, size, stored, offset)
    mode = attributes >> 16 if made_by >> 8 in (_UNIX, _MACOS) else 0
    name = plain(_decoded(raw_name, flags))
    offset += shift
    fault = ""
    if not is_safe(name):
        name, fault = shown(name), "member_name"
    elif stat.S_IFMT(mode) == stat.S_IFLNK:
        fault = "member_link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        fault = "member_not_a_file"
    elif is_nested(name):
        fault = "member_nested"
    elif flags & _ENCRYPTED:
        fault = "member_encrypted"
    elif method not in (STORED, DEFLATED):
        fault = "member_compression"
    elif size > MAX_MEMBER_BYTES or (size > RATIO_FREE_BYTES and size > MAX_RATIO * stored):
        fault = "member_too_large"
    elif disk or offset + stored > directory or not _may_become(method, stored, size):
        fault = "member_mismatch"
    if fault:  # none of its numbers is used, and some may be too large to be kept
        return Entry(name, min(offset, directory), 0, 0, fault=fault)
    return Entry(name, offset, stored, size, method, crc)


def _may_become(method: int, stored: int, size: int) -> bool:
    """Whether so many stored bytes can be what a packer made of `size` bytes."""
    if method == STORED:
        return stored == size
    return size <= DEFLATE_RATIO * stored and stored <= 2 * size + SMALLEST_DEFLATED


def _in_64_bits(extra: bytes, *numbers: int) -> tuple[int, ...]:
    """Numbers of which those that do not fit stand in the ZIP64 field, in the same order (4.5.3)."""
    at, field = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_FIELD:
            field = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    found = []
    for number in numbers:
        is_there = number == _IN_64_BITS and len(field) >= 8
        found.append(int.from_bytes(field[:8], "little") if is_there else number)
        field = field[8:] if is_there else field
    return tuple(found)


def _decoded(name: bytes, flags: int) -> str:
    """The name as text: UTF-8 where it is said or can be, as macOS and Linux write without saying so; else DOS'."""
    if flags & _UTF8:
        return name.decode("utf-8", "surrogateescape")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("cp437")


def _broken(message: str) -> ImageError:
    return ImageError("container_broken", message)


def _corrupt(message: str) -> ImageError:
    return ImageError("member_corrupt", f"{message}; pack the film again")
