"""The headers of a .tar file, one after the other (POSIX.1-2001, pax; GNU tar): WebDataset's shards are such files.

A .tar file has no directory: its members are known by reading from header to header, and only its end mark says that
none is missing.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from cxrzero.containers.blob import Ahead, Blob
from cxrzero.containers.directory import Seen
from cxrzero.containers.entry import Entry
from cxrzero.containers.limits import MAX_HEADER_BYTES, MAX_MEMBER_BYTES, MAX_MEMBERS
from cxrzero.containers.names import is_nested, is_safe, plain, shown
from cxrzero.errors import ImageError

BLOCK = tarfile.BLOCKSIZE
_NO_BLOCK = bytes(BLOCK)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
# Of these no content follows, whatever size is stated.
_WITHOUT_CONTENT = (*_LINKS, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
# Where an old GNU sparse header says that another block of its map follows, and where that one does.
_EXTENDED, _EXTENDED_AGAIN = 482, 504
# Zeros behind the end mark that are looked at for a second archive: the largest record of tar (blocking factor 2,047).
_BEHIND = 2**20


class _Stated(NamedTuple):
    """What headers before a member's own say of it, which counts more."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False


def entries(blob: Blob) -> Iterator[Entry]:
    """The members of a .tar file, as stored; folders are left out.

    Raises:
        ImageError: "container_broken", "container_truncated", "container_too_large"; "unreadable". What came before
            it is right.
    """
    ahead, seen, offset, count = Ahead(blob), Seen(), 0, 0
    common = stated = _Stated()
    while (block := _block(ahead, offset)) != _NO_BLOCK:
        header = _header(block)
        content = offset + BLOCK
        if header.type in (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _extra(ahead, content, header)
            if header.type == tarfile.XGLTYPE:
                common = _of_pax(text, common)
            elif header.type in _PAX:
                stated = _of_pax(text, stated)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                stated = stated._replace(name=_text(text.partition(b"\0")[0]))
            offset = content + _padded(header.size)
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            content = _behind_map(ahead, content, block)
        count += 1
        if count > MAX_MEMBERS:
            raise ImageError("container_too_large", f"the .tar file has more than {MAX_MEMBERS:,} members")
        size = next(each for each in (stated.size, common.size, header.size) if each is not None)
        if header.type in _WITHOUT_CONTENT:
            size = 0
        if content + size > blob.size:
            raise ImageError("container_truncated", f"the .tar file ends in its member number {count:,}")
        if header.type != tarfile.DIRTYPE:
            name = next(each for each in (stated.name, common.name, header.name) if each is not None)
            is_sparse = stated.is_sparse or header.type == tarfile.GNUTYPE_SPARSE
            yield _entry(plain(name), header.type, content, size, seen, is_sparse=is_sparse)
        offset, stated = content + _padded(size), _Stated()
    _check_end(ahead, offset)


def read_member(blob: Blob, entry: Entry, most: int | None = None) -> bytes:
    """The content of a member, or its first bytes; a .tar file has no checksum of it.

    Raises:
        ImageError: "member_corrupt", "unreadable".
    """
    wanted = entry.size if most is None else min(most, entry.size)
    content = blob.read(entry.offset, wanted)
    if len(content) < wanted:
        raise ImageError("member_corrupt", "the archive file ends in it; pack the film again")
    return content


def _entry(name: str, kind: bytes, offset: int, size: int, seen: Seen, *, is_sparse: bool) -> Entry:
    fault = ""
    if not is_safe(name):
        name, fault = shown(name), "member_name"
    elif kind in _LINKS:
        fault = "member_link"
    elif is_sparse:
        fault = "member_sparse"
    elif kind not in _FILES:
        fault = "member_not_a_file"
    elif is_nested(name):
        fault = "member_nested"
    elif size > MAX_MEMBER_BYTES:
        fault = "member_too_large"
    elif seen.add(name):
        fault = "member_duplicate"
    return Entry(name, offset, size, size, limit=offset + size, fault=fault)


def _block(ahead: Ahead, offset: int) -> bytes:
    block = ahead.read(offset, BLOCK)
    if len(block) < BLOCK:
        raise ImageError("container_truncated", "the .tar file has no end mark: it was cut off, or is still arriving")
    return block


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        raise _broken("a header of the .tar file is damaged; what comes behind it is not found") from None
    if header.size < 0:
        raise _broken("a header of the .tar file states a size below 0")
    return header


def _extra(ahead: Ahead, offset: int, header: tarfile.TarInfo) -> bytes:
    if header.size > MAX_HEADER_BYTES:
        raise _broken(f"a header of the .tar file states more than {MAX_HEADER_BYTES} bytes of names and the like")
    text = ahead.read(offset, header.size)
    if len(text) < header.size:
        raise ImageError("container_truncated", "the .tar file ends in a header")
    return text


def _of_pax(text: bytes, before: _Stated) -> _Stated:
    """Read records "LENGTH KEY=VALUE\\n", of which the length counts all of it."""
    found, at = before, 0
    while at < len(text) and text[at : at + 1] != b"\0":
        length = text[at : at + 20].partition(b" ")[0]
        end = at + int(length) if length.isdigit() else 0
        key, equals, value = text[at + len(length) + 1 : max(end - 1, 0)].partition(b"=")
        if not equals or end > len(text) or text[end - 1 : end] != b"\n":
            raise _broken("a pax header of the .tar file is damaged")
        if key == b"path":
            found = found._replace(name=_text(value))
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise _broken("a pax header of the .tar file states a size that is none")
            found = found._replace(size=int(value))
        elif key.startswith(b"GNU.sparse."):
            found = found._replace(is_sparse=True)
            if key == b"GNU.sparse.name":
                found = found._replace(name=_text(value))
        at = end
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _behind_map(ahead: Ahead, offset: int, block: bytes) -> int:
    """Where the content of an old GNU sparse file begins."""
    goes_on = block[_EXTENDED]
    while goes_on:
        goes_on = _block(ahead, offset)[_EXTENDED_AGAIN]
        offset += BLOCK
    return offset


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _check_end(ahead: Ahead, offset: int) -> None:
    """Raise ImageError where more comes behind the end mark, as where two archives were joined."""
    if ahead.read(offset, _BEHIND).strip(b"\0"):
        raise _broken("the .tar file goes on behind its end mark, as where several were joined; join their members")


def _broken(message: str) -> ImageError:
    return ImageError("container_broken", message)
