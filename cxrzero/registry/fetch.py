"""One file of the Hub onto this disk: gone on with, bounded, checked, set aside when wrong.

A download goes to NAME.SHA256.part, named after what it is to become: what was cut off goes on only where the hash can
prove the whole, and a file that changed on the server starts another part.
"""

from __future__ import annotations

import glob
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cxrzero.errors import DownloadError
from cxrzero.files import sha256_of
from cxrzero.registry.hub import Hub, Remote, TransferError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# The largest published model here is below 4 GB; a server that offers more is not sending that.
MAX_FILE_BYTES = 20 * 10**9
# Left free beyond the file, so that a download does not fill the disk of everyone else.
SPARE_BYTES = 500 * 10**6

AGAIN = "run the same command again, it goes on from there"


def fetch(hub: Hub, remote: Remote, folder: Path, notify: Callable[[str], None]) -> str:
    """Download a file into a folder, or find it there whole; returns its SHA-256.

    Raises:
        DownloadError: not fetched, or not the file that was expected (it is set aside).
    """
    target = folder / remote.name
    if target.is_file():
        found = sha256_of(target)
        if remote.sha256 == found or (remote.sha256 is None and target.stat().st_size == remote.size):
            notify(f"{remote.name}: here already")
            return found
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(".".join(filter(None, (target.name, remote.sha256, "part"))))
    _download(hub, remote, part, notify)
    found = sha256_of(part)
    if remote.sha256 not in (None, found):
        aside = target.with_name(f"{target.name}.wrong-{found[:12]}")
        part.replace(aside)
        raise DownloadError(
            f"{remote.name} is not the file that was expected: sha256 {found}, expected {remote.sha256}. "
            f"It is set aside as {aside}"
        )
    part.replace(target)
    for old in target.parent.glob(f"{glob.escape(target.name)}.*part"):
        old.unlink()
    return found


def _download(hub: Hub, remote: Remote, part: Path, notify: Callable[[str], None]) -> None:
    start = _start(remote, part)
    _check_space(part.parent, (remote.size or 0) - start)
    notify(f"{remote.name}: {'going on at' if start else 'fetching'} {_of(start, remote.size)}")
    try:
        with _Part(part, start, remote) as file:
            hub.receive(remote, cast("io.BufferedRandom", file), start)
    except TransferError as error:
        done = part.stat().st_size
        if not done:
            raise DownloadError(f"{remote.name}: {error}") from error
        how = AGAIN if remote.sha256 else "run the same command again"
        raise DownloadError(f"{remote.name} was cut off at {_of(done, remote.size)} ({error}); {how}") from error
    except OSError as error:
        raise DownloadError(f"{part} cannot be written: {error.strerror}") from error


def _start(remote: Remote, part: Path) -> int:
    """Return where to go on: 0 where there is nothing to go on from, or no hash and size to check the result by."""
    there = part.stat().st_size if part.is_file() else 0
    return there if remote.sha256 and remote.size is not None and there <= remote.size else 0


class _Part(io.FileIO):
    """Unbuffered, so that an interruption keeps all, and bounded: a server may send more than it announced."""

    def __init__(self, path: Path, start: int, remote: Remote) -> None:
        super().__init__(path, "ab" if start else "wb")
        self._most = MAX_FILE_BYTES if remote.size is None else remote.size
        self._title = remote.name

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data)
        size = left.nbytes
        if self.tell() + size > self._most:
            self.truncate(0)
            raise DownloadError(f"{self._title}: the server sends more than it announced; refused")
        while left:  # the system may take less than it is given
            left = left[super().write(left) :]
        return size


def check_size(remote: Remote, stated: int | None) -> None:
    """Raise DownloadError where the server offers another size than the card states, or more than any model has."""
    if remote.size is not None and stated is not None and remote.size != stated:
        raise DownloadError(f"{remote.name}: the server offers {remote.size:,} bytes, expected {stated:,}; refused")
    if remote.size is not None and remote.size > MAX_FILE_BYTES:
        raise DownloadError(f"{remote.name}: the server offers {remote.size:,} bytes, more than any model; refused")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DownloadError(
            f"{folder} has {free / 1e9:.1f} GB free, and {(needed + SPARE_BYTES) / 1e9:.1f} GB are needed; "
            "free some space or set CXRZERO_MODELS_DIR"
        )


def _of(done: int, total: int | None) -> str:
    return f"{done / 1e6:,.1f} MB" + ("" if total is None else f" of {total / 1e6:,.1f} MB")
