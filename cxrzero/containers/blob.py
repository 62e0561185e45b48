"""The bytes of a container, read in any order from many threads."""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from cxrzero.errors import ImageError

CHANGED = "the file that holds this film is not the one that was listed: it has changed meanwhile"


class Blob(Protocol):
    """A file or an object.

    Attributes:
        size: in bytes.
        identity: what tells its content, its place included.
    """

    size: int
    identity: bytes

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on; fewer where it ends. Raises ImageError: "unreadable", "container_changed"."""

    def check(self) -> None:
        """Raise ImageError "container_changed" if what is at its place now is something else."""


class LocalBlob:
    """A file of this machine; closed when nobody has it any more.

    Raises:
        ImageError: "missing", "unreadable", "not_a_file".
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for who writes to it
                raise ImageError("not_a_file", "this is a folder, pipe, socket or device, not a file")
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise _unreadable(error) from None
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self._file)
        status = os.fstat(self._file)
        self.size = status.st_size
        self.identity = self._identity(status)

    def read(self, offset: int, size: int) -> bytes:
        try:
            if hasattr(os, "pread"):
                return _whole(lambda at, left: os.pread(self._file, left, offset + at), size)
            with self._lock:
                os.lseek(self._file, offset, os.SEEK_SET)
                return _whole(lambda at, left: os.read(self._file, left), size)
        except OSError as error:
            raise _unreadable(error) from None

    def check(self) -> None:
        try:
            is_same = self._identity(os.stat(self._path)) == self.identity
        except OSError:
            is_same = False
        if not is_same:
            raise ImageError("container_changed", CHANGED)

    def _identity(self, status: os.stat_result) -> bytes:
        path = os.fsencode(os.path.abspath(self._path))
        return b"%s\0%d %d %d" % (path, status.st_size, status.st_mtime_ns, status.st_ino)


class Ahead:
    """Small reads of a blob that follow each other, as few larger ones: of a store each would be a request.

    Not for several threads.
    """

    BYTES = 2**16

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._start, self._held = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """As of `Blob`."""
        at = offset - self._start
        if not 0 <= at <= at + size <= len(self._held):
            self._start, at = offset, 0
            self._held = self._blob.read(offset, max(size, self.BYTES))
        return self._held[at : at + size]


def _whole(read: Callable[[int, int], bytes], size: int) -> bytes:
    """All that is asked for, since the system may give less at once (2 GB on Linux)."""
    parts: list[bytes] = []
    got = 0
    while got < size and (part := read(got, size - got)):
        parts.append(part)
        got += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unreadable(error: OSError) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError("missing", "the file that holds this film is not there")
    return ImageError("unreadable", f"the file cannot be read ({error.strerror or os.strerror(5)})")
