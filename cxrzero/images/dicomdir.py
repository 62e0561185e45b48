"""A DICOMDIR, followed: the files that a medium's directory lists (PS3.3, annex F; PS3.10, 8.6)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.tag import Tag

from cxrzero.errors import ImageError
from cxrzero.images.bounded_file import BoundedFile
from cxrzero.images.quiet import ignore_warnings_of

DIRECTORY_RECORDS = Tag(0x0004, 0x1220)

# A record takes a few hundred bytes, so this is a medium of about 100,000 images; more is no DICOMDIR.
MAX_BYTES = 64 * 2**20


def referenced_files(path: str) -> Iterator[str]:
    """Yield the files of all IMAGE records, in the directory's order, below the folder of the DICOMDIR.

    Raises:
        ImageError: "bad_dicomdir" when the file cannot be parsed, or a record points outside its folder.
    """
    folder = os.path.dirname(path)
    for components in _file_ids(path):
        if any(part in ("", ".", "..") or set(part) & set("/\\\0") for part in components):
            raise ImageError("bad_dicomdir", "a record points outside the folder of the DICOMDIR")
        yield _find(folder, components)


def _file_ids(path: str) -> list[tuple[str, ...]]:
    ignore_warnings_of("pydicom")
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise ImageError("bad_dicomdir", f"the file is larger than {MAX_BYTES} bytes")
        with open(path, "rb") as file:
            bounded = BoundedFile(file)
            records = dcmread(cast(BinaryIO, bounded), specific_tags=[DIRECTORY_RECORDS]).get("DirectoryRecordSequence")
        if bounded.cut or records is None:
            raise ImageError("bad_dicomdir", "the directory is cut short, so images would be missing")
        found = [
            r.ReferencedFileID for r in records if r.get("DirectoryRecordType") == "IMAGE" and "ReferencedFileID" in r
        ]
    except ImageError:
        raise
    except Exception as error:  # pydicom raises anything on hostile bytes
        if isinstance(error, OSError) and error.strerror:
            raise ImageError("unreadable", error.strerror) from error
        raise ImageError("bad_dicomdir", f"the directory cannot be parsed ({type(error).__name__})") from error
    return [(str(name),) if isinstance(name, str) else tuple(str(part) for part in name) for name in found]


def _find(folder: str, components: tuple[str, ...]) -> str:
    """The file's path; names are compared without case, since media written on one system are read on another."""
    path = folder
    for part in components:
        exact = os.path.join(path, part)
        if not os.path.lexists(exact) and os.path.isdir(path or "."):
            same = sorted(name for name in os.listdir(path or ".") if name.lower() == part.lower())
            exact = os.path.join(path, same[0]) if same else exact
        path = exact
    return path
