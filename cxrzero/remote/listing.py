"""Which objects at an address become rows, in byte order of their keys: by the rules of folders (`cxrzero.sources`).

A key whose suffix claims an image is one. Of any other the first bytes are asked for, many at once and in order; so are
size and version where a listing does not state them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from cxrzero.archive.limits import Limits, Patience
from cxrzero.errors import ImageError, RemoteError, SkippedImage
from cxrzero.images.leftovers import FILES, FORK, is_leftover_folder
from cxrzero.images.sniff import HEAD_BYTES, kind_of_bytes
from cxrzero.remote.address import ObjectAddress, order_of
from cxrzero.remote.answers import login_error, missing
from cxrzero.remote.service import Entry, Service
from cxrzero.sources.refs import WalkCounts
from cxrzero.sources.walk import claims_image

# Keys that are looked at or wait for those before them.
LOOKED_AT_AHEAD = 4


class Found(NamedTuple):
    """One object that becomes a row, or the place of which no list could be had.

    Attributes:
        identity: see `ObjectAddress.identity`.
    """

    address: ObjectAddress
    identity: bytes | None = None
    error: ImageError | None = None


class Lister:
    """Lists what one address names.

    Args:
        counts: is told of objects that become no row.
    """

    def __init__(self, service: Service, patience: Patience, limits: Limits, counts: WalkCounts) -> None:
        self._service, self._patience, self._limits, self._counts = service, patience, limits, counts
        self._listed_any = False
        self._refusal: ImageError | None = None

    def look(self, address: ObjectAddress) -> Found | None:
        """The object that an address names; None: it names none, but perhaps a folder.

        Raises:
            RemoteError: the store cannot be asked.
        """
        if address.is_folder:
            return None
        try:
            entry = self._patience(lambda: self._service.look(asked_key(address)))
            return None if entry is None else self._named(address, entry)
        except ImageError as error:
            self._refusal = error
            # Who may not look at it may perhaps list what is below it.
            return None if error.code == "remote_refused" and not address.is_web else Found(address, error=error)

    def below(self, address: ObjectAddress) -> Iterator[Found]:
        """What has its keys below an address; where nothing has, that it is missing.

        Raises:
            RemoteError: the list cannot be had, or is in no order.
        """
        yield from self._below(address if address.is_folder else address.with_key(address.key + "/"))
        if not self._listed_any:
            yield Found(address, error=self._refusal or missing())

    def _named(self, address: ObjectAddress, entry: Entry) -> Found:
        name = address.key.rpartition("/")[2]
        found = Found(address, address.identity(entry.size, entry.version))
        if _is_leftover(name) and self._kind(entry._replace(key=asked_key(address))) is None:
            left = SkippedImage("system_file", "left by the operating system; it holds no image")
            return found._replace(error=left)
        return found

    def _below(self, folder: ObjectAddress) -> Iterator[Found]:
        with ThreadPoolExecutor(self._limits.requests, thread_name_prefix="look") as pool:
            waiting: deque[Found | Future[Found | None] | None] = deque()
            try:
                for entry in self._in_order(folder):
                    waiting.append(self._quick(folder, entry) or pool.submit(self._looked_at, folder, entry))
                    while waiting and (len(waiting) > LOOKED_AT_AHEAD * self._limits.requests or _is_ready(waiting[0])):
                        yield from self._given(waiting.popleft())
                while waiting:
                    yield from self._given(waiting.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _in_order(self, folder: ObjectAddress) -> Iterator[Entry]:
        """Entries that are files, checked for their order, which no later step could restore."""
        before = b""
        try:
            for entry in self._service.entries(folder.key):
                address = folder.with_key(entry.key)
                order = order_of(address)
                if not entry.key.startswith(folder.key) or (self._listed_any and order <= before):
                    raise RemoteError(
                        f"{folder} is not listed in the order of its keys, so that no row would have its place; give "
                        "the addresses by @list.txt with --allow-remote-list"
                    )
                self._listed_any, before = True, order
                *folders, name = entry.key.removeprefix(folder.key).split("/")
                if not name:
                    continue  # what some programs put in a folder's place
                if any(map(is_leftover_folder, folders)):
                    self._counts.ignored += 1
                    continue
                yield entry
        except ImageError as error:
            if error.code == "remote_refused":
                raise login_error(folder.service, f"it may not be listed here ({error.message})") from None
            raise RemoteError(f"{folder} cannot be listed: {error.message}") from None

    def _quick(self, folder: ObjectAddress, entry: Entry) -> Found | None:
        """What is known of an object without asking for it; None: not enough."""
        name = entry.key.rpartition("/")[2]
        if entry.size is None or _is_leftover(name) or not claims_image(name) or _is_dicomdir(name):
            return None
        address = folder.with_key(entry.key)
        return Found(address, address.identity(entry.size, entry.version))

    def _looked_at(self, folder: ObjectAddress, entry: Entry) -> Found | None:
        """What an object turns out to be; None: it becomes no row."""
        address = folder.with_key(entry.key)
        name = entry.key.rpartition("/")[2]
        try:
            if entry.size is None:
                entry = self._patience(lambda: self._service.look(entry.key)) or entry
            if _is_leftover(name) or not claims_image(name) or _is_dicomdir(name):
                kind = self._kind(entry)
                if kind == "dicomdir" or (kind is None and (_is_leftover(name) or not claims_image(name))):
                    return None
        except ImageError as error:
            return Found(address, error=error)  # it may be a lost film, so it is a row
        return Found(address, address.identity(entry.size, entry.version))

    def _kind(self, entry: Entry) -> str | None:
        if entry.size == 0:
            return None
        part = (0, HEAD_BYTES)
        return kind_of_bytes(
            self._patience(lambda: self._service.fetch(entry.key, None, self._limits.object_bytes, part))
        )

    def _given(self, made: Found | Future[Found | None] | None) -> Iterator[Found]:
        found = made.result() if isinstance(made, Future) else made
        if found is None:
            self._counts.ignored += 1
        else:
            yield found


def asked_key(address: ObjectAddress) -> str:
    """What a `Service` is asked for: the key, and of a web server the query behind it."""
    return f"{address.key}?{address.query}" if address.query else address.key


def _is_ready(made: Found | Future[Found | None] | None) -> bool:
    return not isinstance(made, Future) or made.done()


def _is_leftover(name: str) -> bool:
    return name.startswith(FORK) or name.lower() in FILES


def _is_dicomdir(name: str) -> bool:
    return name.upper().startswith("DICOMDIR")
