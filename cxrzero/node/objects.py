"""What a node received, as files: each under the SHA-256 of its bytes, whole or not there.

Names come from our own digests, so that no text of a peer is ever part of a path, and the same bytes are the same file.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cxrzero.files import make_private

PART = ".part"
NAME = re.compile("[0-9a-f]{64}")


class Objects:
    """The folder of received objects, private to its user.

    Args:
        folder: made if it is missing.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_private(folder)

    def begin(self) -> NewObject:
        """Begin to write one. Raises OSError."""
        return NewObject(self.folder)

    def path(self, name: str) -> Path:
        """Where an object is (whether or not it is there)."""
        assert NAME.fullmatch(name), "names are our own digests"
        return self.folder / name

    def names(self) -> Iterator[str]:
        """All that are there."""
        yield from (entry.name for entry in os.scandir(self.folder) if NAME.fullmatch(entry.name))

    def delete(self, name: str) -> None:
        """Delete one; it may be gone already. Raises OSError."""
        self.path(name).unlink(missing_ok=True)

    def clean(self) -> int:
        """Delete what was not complete when a node ended; how many. To be called while no other node runs here."""
        parts = list(self.folder.glob(f"*{PART}"))
        for part in parts:
            part.unlink(missing_ok=True)
        return len(parts)

    def free_bytes(self) -> int:
        """What is left on its disk."""
        return shutil.disk_usage(self.folder).free


class NewObject:
    """A file of objects while it is written; it gets its name by `commit`, and is gone after `discard`.

    Attributes:
        path: where it is until then.
        size: bytes written so far.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / (secrets.token_hex(16) + PART)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = open(self.path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115

    def write(self, data: bytes | memoryview) -> int:
        """Append. Raises OSError."""
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def name(self) -> str:
        """The name that it gets."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Have all of it on the disk; it can be read now, under `path`. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def commit(self) -> bool:
        """Give it its name, for good; call `finish` before. Whether it is new: not there before. Raises OSError."""
        target = self.path.with_name(self.name)
        is_new = not target.exists()
        self.path.replace(target)
        sync_folder(target.parent)
        return is_new

    def discard(self) -> None:
        """Leave nothing behind, whatever state it is in; after `commit` this does nothing."""
        with suppress(OSError):  # of the flush, where the disk is full
            self._file.close()
        self.path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have names in a folder survive a loss of power; Windows does this itself. Raises OSError."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
