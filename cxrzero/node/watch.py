"""The watched folder: what is put there is copied into the node, each content once.

It is looked through again and again, for no system tells of changes on a network share. A file is taken once it has
stayed the same for a while, by this process's clock: what times of files say depends on clocks elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cxrzero.choices import Notify
from cxrzero.errors import CxrzeroError, ImageError
from cxrzero.images.leftovers import is_leftover_file, is_leftover_folder
from cxrzero.images.sniff import kind_of
from cxrzero.node.config import NodeConfig
from cxrzero.node.durable import Durable
from cxrzero.node.identity import Identity, identity_of_file
from cxrzero.node.intake import Intake, OtherContentError
from cxrzero.node.objects import NewObject
from cxrzero.sources import IMAGE_SUFFIXES, identity_of

CHUNK_BYTES = 1024 * 1024


class Seen:
    """Files that need not be opened again, by a digest of name, size, time and inode; kept in the queue's file.

    Names are not kept: they may be those of patients.
    """

    def __init__(self, durable: Durable) -> None:
        self._durable = durable
        self._keys = {key for (key,) in durable.rows("SELECT key FROM watched")}

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        """Remember one, for good."""
        with self._durable.writing() as write:
            write("INSERT OR IGNORE INTO watched VALUES (?)", (key,))
        self._keys.add(key)

    def keep_only(self, there: set[bytes]) -> None:
        """Forget those that are not there any more."""
        if gone := self._keys - there:
            with self._durable.writing() as write:
                for key in gone:
                    write("DELETE FROM watched WHERE key = ?", (key,))
            self._keys -= gone


class Watch:
    """Looks into a folder.

    Args:
        config: its `watch`, and how.
        intake: where files go.
        durable: where is remembered what was seen.
        notify: told what could not be taken; without names of files, which may be those of patients.
        clock: seconds that never run back.
    """

    def __init__(
        self,
        config: NodeConfig,
        intake: Intake,
        durable: Durable,
        notify: Notify,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert config.watch
        self._folder, self._config, self._intake, self._notify = config.watch, config, intake, notify
        self._seen, self._clock = Seen(durable), clock
        self._settling: dict[bytes, float] = {}  # key → when it was first found so

    def run(self, stop: threading.Event) -> None:
        """Look again and again, until `stop` is set."""
        while not stop.is_set():
            try:
                self.look()
            except (OSError, CxrzeroError) as error:
                what = getattr(error, "strerror", None) or type(error).__name__
                self._notify(f"the watched folder cannot be looked through: {what}")
            stop.wait(self._config.watch_seconds)

    def look(self) -> int:
        """Look once; how many new objects there are."""
        now, there, new = self._clock(), set(), 0
        for path, status in _files(self._folder):
            key = _key(path, status)
            there.add(key)
            if key in self._seen:
                continue
            if now - self._settling.setdefault(key, now) >= self._config.settle_seconds:
                new += self._take(path, key)
        self._settling = {key: at for key, at in self._settling.items() if key in there and key not in self._seen}
        self._seen.keep_only(there)
        return new

    def _take(self, path: str, key: bytes) -> bool:
        """Take a file, unless it is none for us or there is no room now; whether it is a new object."""
        try:
            if not _is_image(path):
                self._seen.add(key)
                return False
            size = os.stat(path).st_size
            if size > self._intake.max_bytes:
                self._seen.add(key)
                self._notify("a file of the watched folder is larger than limits.object_mb; it is left alone")
                return False
            if lack := self._intake.lack(size):
                self._notify(f"the watched folder waits: {lack}")
                return False
            return self._copy(path, key)
        except (OSError, ImageError) as error:
            what = getattr(error, "strerror", None) or type(error).__name__
            self._notify(f"a file of the watched folder cannot be read: {what}; it is tried again")
            return False

    def _copy(self, path: str, key: bytes) -> bool:
        new = self._intake.begin()
        try:
            if not _copied(path, key, new):
                return False  # it still changes
            new.finish()
            is_new = self._intake.take(new, _identity(new.path), source=path)
        except OtherContentError:
            self._notify(
                "a file of the watched folder has the SOP Instance UID of another that is known; it is left alone"
            )
            is_new = False
        finally:
            new.discard()
        self._seen.add(key)
        if self._config.watch_delete and _key(path, os.lstat(path)) == key:
            os.unlink(path)
        return is_new


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder. Links are not followed, and names that begin with a dot are not looked at: so are
    files called while they are copied.

    Raises:
        OSError: a folder cannot be listed.
    """
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda each: os.fsencode(each.name)):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False) and not is_leftover_folder(entry.name):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    try:
                        status = os.lstat(entry.path)  # an entry's own lacks the inode on Windows
                    except FileNotFoundError:
                        continue
                    if not is_leftover_file(entry.path, entry.name):
                        yield entry.path, status


def _key(path: str, status: os.stat_result) -> bytes:
    text = os.fsencode(path) + repr(identity_of(status)).encode()
    return hashlib.sha256(text).digest()


def _is_image(path: str) -> bool:
    """As in `cxrzero.sources`: by content, or because its name says so. Raises ImageError."""
    kind = kind_of(path)
    return kind != "dicomdir" and (kind is not None or os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES)


def _copied(path: str, key: bytes, new: NewObject) -> bool:
    """Copy a file; whether it stayed what it was meanwhile. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or _key(path, before) != key:
            return False
        left = before.st_size + 1  # one more, to see whether it grows
        while left > 0 and (data := file.read(min(CHUNK_BYTES, left))):
            new.write(data)
            left -= len(data)
        return new.size == before.st_size and _key(path, os.fstat(descriptor)) == key


def _identity(path: Path) -> Identity:
    """What a file says it is; a broken one says nothing, and becomes a failed row."""
    try:
        return identity_of_file(path)
    except ImageError:
        return Identity()
