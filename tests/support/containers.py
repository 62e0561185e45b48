"""Archive files as tests need them: whole ones, and the bytes of one changed where a hostile one lies."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from cxrzero.errors import ImageError
from cxrzero.sources import ImageRef, WalkCounts, find_images

LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
# Where the fields of a .zip file's headers are (APPNOTE.TXT, 4.3.7 and 4.3.12).
LOCAL_FIELDS = {"flags": (6, "<H"), "method": (8, "<H"), "crc": (14, "<I"), "stored": (18, "<I"), "size": (22, "<I")}
CENTRAL_FIELDS = {
    "flags": (8, "<H"), "method": (10, "<H"), "crc": (16, "<I"), "stored": (20, "<I"), "size": (24, "<I"),
    "disk": (34, "<H"), "attributes": (38, "<I"), "offset": (42, "<I"),
}  # fmt: skip


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes | tarfile.TarInfo], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A .tar file; a member may be a header without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def changed(content: bytes, start: bytes, number: int, **fields: int) -> bytes:
    """A .zip file with other values in its header number `number` (from 0) of those that begin with `start`."""
    at = -1
    for _ in range(number + 1):
        at = content.index(start, at + 1)
    data = bytearray(content)
    for name, value in fields.items():
        offset, form = (LOCAL_FIELDS if start == LOCAL else CENTRAL_FIELDS)[name]
        struct.pack_into(form, data, at + offset, value)
    return bytes(data)


def films(path: Path, counts: WalkCounts | None = None) -> list[tuple[str, str]]:
    """(name in the container, code of what is wrong with it) of each film; the container itself is ""."""
    return [(ref.path[len(str(path)) :].removeprefix("!/"), code_of(ref)) for ref in find_images([str(path)], counts)]


def code_of(ref: ImageRef) -> str:
    return "" if ref.error is None else ref.error.code


def code_when(work: Callable[[], object]) -> str:
    """The code of the error that work ends with."""
    try:
        work()
    except ImageError as error:
        return error.code
    return ""
