"""Stores through fsspec: how its drivers are opened, and those that have no module of their own here.

fsspec would read defaults for any driver from ~/.config/fsspec and FSSPEC_… variables, keep instances and listings for
ever, and put copies of what is read on this disk where an address asks for that. None of it happens: what a store is
asked with is what the address and the store's own environment say.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import CxrzeroError, ImageError, MissingExtraError, OutputExistsError, UsageError
from cxrzero.files import PARTIAL
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.remote.address import ObjectAddress
from cxrzero.remote.answers import broke_off, changed, too_large, translated
from cxrzero.remote.service import Entry

# Whose logs and warnings quote addresses, and with them signatures.
LOUD = ("fsspec", "s3fs", "gcsfs", "adlfs", "aiobotocore", "botocore", "aiohttp", "azure", "google", "asyncio")
# What fsspec's drivers call what changes with the content.
VERSIONS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "modified", "created")
FOLDERS_DEEP = 64

_opening = threading.Lock()


def driver(module: str, name: str) -> Any:
    """A class of a driver.

    Raises:
        MissingExtraError: it is not installed.
    """
    for package in LOUD:
        ignore_warnings_of(package)
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        raise MissingExtraError(module.partition(".")[0], "cloud") from None


def opened(kind: Any, **options: Any) -> Any:
    """An instance of a driver that is nobody else's, by these options alone."""
    with _opening, _unconfigured():
        return kind(**options, skip_instance_cache=True, use_listings_cache=False)


@contextmanager
def _unconfigured() -> Iterator[None]:
    from fsspec.config import conf

    theirs = dict(conf)
    conf.clear()
    try:
        yield
    finally:
        conf.update(theirs)


def on_loop(filesystem: Any, function: Callable[..., Any], *args: Any, seconds: float) -> Any:
    """What a coroutine returns that the loop of this process's drivers runs."""
    from fsspec.asyn import sync

    return sync(filesystem.loop, function, *args, timeout=seconds)


def check_scheme(scheme: str) -> None:
    """Raise what `FileSystem` would, opening nothing.

    Raises:
        UsageError: fsspec knows no such store.
        MissingExtraError: fsspec, or the driver, is not installed.
    """
    _class_of(scheme)


def _class_of(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("fsspec", "cloud") from None
    if scheme not in fsspec.available_protocols():
        raise UsageError(f"{scheme}:// is no store that can be read; see docs/places.md")
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        known = str(error).splitlines()[0]
        raise UsageError(f"{scheme}:// needs a package that is not installed: {known}") from None


class FileSystem:
    """See `cxrzero.remote.service.Service`. Folder by folder is listed, since fsspec knows no pages."""

    is_encrypted = True  # nobody knows

    def __init__(self, address: ObjectAddress, limits: Limits, patience: Patience) -> None:
        kind = _class_of(address.scheme)
        self._name, self._limits, self._patience = address.service, limits, patience
        with translated(self._name):
            self._files = opened(kind, **kind._get_kwargs_from_urls(address.service + "/"))
        self._root = f"{address.service}/"

    def entries(self, prefix: str) -> Iterator[Entry]:
        yield from self._in(prefix, 0)

    def _in(self, folder: str, depth: int) -> Iterator[Entry]:
        """What is below a folder: with a slash behind those of folders, names are in the order of keys."""
        if depth > FOLDERS_DEEP:
            raise ImageError("remote_error", f"folders lie more than {FOLDERS_DEEP} deep")
        listed = self._patience(lambda: self._ls(folder))
        found = []
        for info in listed:
            name = str(info["name"]).rstrip("/").rpartition("/")[2]
            if name:
                found.append((folder + name + "/" * (info.get("type") == "directory"), info))
        for key, info in sorted(found, key=lambda pair: pair[0].encode()):
            if key.endswith("/"):
                yield from self._in(key, depth + 1)
            else:
                yield _entry(key, info)

    def _ls(self, folder: str) -> list[dict[str, Any]]:
        with translated(self._name):
            try:
                return list(self._files.ls(self._root + folder, detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def look(self, key: str) -> Entry | None:
        with translated(self._name):
            try:
                info = self._files.info(self._root + key)
            except FileNotFoundError:
                return None
        return None if info.get("type") == "directory" else _entry(key, info)

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        now = self.look(key)
        if now is not None and known is not None and now.version != known.version:
            raise changed()
        if part is None and now is not None and now.size is not None and now.size > most_bytes:
            raise too_large(most_bytes)
        start, end = (None, most_bytes + 1) if part is None else (part[0], sum(part))
        with translated(self._name):
            content = bytes(self._files.cat_file(self._root + key, start=start, end=end))
        if len(content) > most_bytes:
            raise too_large(most_bytes)
        if part is None and now is not None and now.size is not None and len(content) < now.size:
            raise broke_off()
        return content

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        if not overwrite and self.look(key) is not None:
            raise OutputExistsError(f"{self._root}{key} exists already; name another, or give --overwrite")
        where = self._root + key
        try:
            with translated(self._name):
                self._files.put_file(str(file), where + PARTIAL)
                if overwrite and self._files.exists(where):
                    self._files.rm_file(where)  # some rename over nothing that is there
                self._files.mv(where + PARTIAL, where)
        except CxrzeroError:
            with suppress(CxrzeroError), translated(self._name):  # the first error is the one to report
                self._files.rm_file(where + PARTIAL)
            raise

    def remove(self, key: str) -> None:
        with translated(self._name):
            self._files.rm_file(self._root + key)

    def close(self) -> None:
        pass


def _entry(key: str, info: dict[str, Any]) -> Entry:
    found: Any = next((info[name] for name in VERSIONS if info.get(name)), "")
    version = str(found.timestamp() if hasattr(found, "timestamp") else found)  # some give a time as either
    size = info.get("size")
    return Entry(key, int(size) if size is not None else None, version.strip('"'))
