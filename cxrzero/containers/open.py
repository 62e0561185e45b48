"""One container, opened; and a few of them, kept open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from cxrzero.containers.blob import Blob
from cxrzero.containers.directory import Directory
from cxrzero.containers.entry import Entry, entry_of
from cxrzero.errors import ImageError
from cxrzero.images.sniff import HEAD_BYTES
from cxrzero.places.printed import unprinted

# Containers that are kept open: as many as a table's neighbouring rows may be of, and a fraction of the files that a
# process may have open.
KEPT_OPEN = 8


class Container:
    """A .zip or .tar file, by the end of its name.

    Args:
        path: of the file or object.
        blob: its bytes.
    """

    def __init__(self, path: str, blob: Blob) -> None:
        self.path, self.blob = path, blob
        self._is_zip = path.lower().endswith(".zip")
        self._directory: Directory | None = None
        self._lock = threading.Lock()

    def entries(self) -> Iterator[Entry]:
        """Its members, folders left out: of a .zip file in the order of a folder's names, of a .tar file as stored.

        Raises:
            ImageError: it cannot be read (any further); see docs/images.md for the codes.
        """
        yield from self._read_zip() if self._is_zip else self._read_tar()
        self.blob.check()

    def find(self, name: str) -> Entry:
        """The member of this name, or of the one that a table writes so; the first search reads all headers.

        Raises:
            ImageError: "missing": there is none; why it is refused; see `entries`.
        """
        with self._lock:
            if self._directory is None:
                self._directory = self._read_directory()
        entry = self._directory.find(name) or self._directory.find(unprinted(name))
        if entry is None:
            raise ImageError("missing", "the archive file has no member of this name")
        if error := entry.error():
            raise error
        return entry

    def _read_directory(self) -> Directory:
        return self._read_zip() if self._is_zip else Directory(self._read_tar(), self.blob.size)

    def _read_zip(self) -> Directory:
        from cxrzero.containers import zips  # imported with tarfile when there is something to read

        return zips.read_directory(self.blob)

    def _read_tar(self) -> Iterator[Entry]:
        from cxrzero.containers import tars

        return tars.entries(self.blob)

    def _read(self, entry: Entry, most: int | None = None) -> bytes:
        from cxrzero.containers import tars, zips

        read = zips.read_member if self._is_zip else tars.read_member
        return read(self.blob, entry, most)

    def head(self, entry: Entry) -> bytes:
        """The first bytes of a member, by which its kind is told."""
        return self._read(entry, HEAD_BYTES)

    def content(self, entry: Entry) -> bytes:
        """A member's content.

        Raises:
            ImageError: "container_changed", "member_corrupt", "member_mismatch", "member_overlaps", "unreadable".
        """
        content = self._read(entry)
        self.blob.check()
        return content


class OpenContainers:
    """The containers that were read last; safe to use from many threads.

    Args:
        open_blob: path → the bytes of a container; raises ImageError.
    """

    def __init__(self, open_blob: Callable[[str], Blob]) -> None:
        self._open_blob = open_blob
        self._open: OrderedDict[str, Container] = OrderedDict()
        self._lock = threading.Lock()

    def identity(self, path: str, name: str) -> bytes:
        """What tells the content of a member. Raises ImageError: see `Container.find`."""
        container = self._container(path)
        return container.find(name).identity(container.blob.identity)

    def content(self, path: str, name: str, identity: bytes | None = None) -> bytes:
        """The content of a member.

        Args:
            identity: as it was listed; None looks the name up, and compares nothing.

        Raises:
            ImageError: see `Container`.
        """
        container = self._container(path)
        if identity is None:
            return container.content(container.find(name))
        return container.content(entry_of(identity, container.blob.identity, name))

    def _container(self, path: str) -> Container:
        """The container, opened anew where it is another one by now."""
        with self._lock:
            container = self._open.pop(path, None)
            if container is not None and _is_changed(container.blob):
                container = None
            if container is None:
                container = Container(path, self._open_blob(path))
            self._open[path] = container
            if len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
            return container


def _is_changed(blob: Blob) -> bool:
    try:
        blob.check()
    except ImageError:
        return True
    return False
