"""The object stores and web servers that a command reads from: how they are asked, and their films.

Nobody is asked before `films` or `decode` is called, and nobody but the stores that `check` was told of. A process that
is given an `Objects` opens connections of its own.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cxrzero.archive.ahead import read_ahead
from cxrzero.archive.archives import CA_FILE, LISTED_AHEAD
from cxrzero.archive.limits import Limits, Patience
from cxrzero.choices import Notify, silent
from cxrzero.containers.blob import CHANGED
from cxrzero.display.counts import counted
from cxrzero.errors import ImageError, RemoteError, UsageError
from cxrzero.remote.address import ObjectAddress, SignedAddress, known_of, parse_object
from cxrzero.remote.open import check_installed, opened
from cxrzero.remote.service import STORE, Entry, Service
from cxrzero.sources.refs import ImageRef, WalkCounts

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Radiograph
    from cxrzero.remote.ahead import FetchAhead
    from cxrzero.remote.listing import Found

# Requests at once: a store answers after a tenth of a second, however many wait.
LIMITS = Limits(requests=32)
# Of contents that were fetched and are not decoded yet: a dozen of the largest films, hundreds of usual ones.
AHEAD_BYTES = 512 * 2**20


class Objects:
    """Object stores and web servers by their addresses, see docs/places.md.

        >>> with Screener(objects=Objects()) as screener:
        ...     rows = screener.predict("s3://bucket/films/")  # doctest: +SKIP

    Args:
        allow_lists: also take addresses that stand in a list file.
        ca_file: certificates by which those of web servers are checked; None takes CXRZERO_CA_FILE, else the usual
            ones.
        limits: of patience and size.
        ahead_bytes: of what is fetched before it is decoded.
        notify: is told what there is to say before a run.
    """

    def __init__(
        self,
        *,
        allow_lists: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        ahead_bytes: int = AHEAD_BYTES,
        notify: Notify = silent,
    ) -> None:
        self.limits = limits or LIMITS
        self.allow_lists = allow_lists
        self._ca_file = os.fspath(ca_file or os.environ.get(CA_FILE) or "") or None
        self._ahead_bytes, self._notify = ahead_bytes, notify
        self._named: set[str] = set()
        self._said: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        """What belongs to this process."""
        self._services: dict[str, tuple[Service, Patience]] = {}
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self._ahead: FetchAhead | None = None
        self._refused = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = ("limits", "allow_lists", "_ca_file", "_ahead_bytes", "_named", "_said")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._notify = silent  # the parent has said it
        self._begin()

    def check(self, addresses: Sequence[str], *, is_list: bool = False) -> None:
        """Get ready to ask the stores of these addresses; nobody is asked yet.

        Args:
            is_list: they stand in a list file.

        Raises:
            UsageError: an address that is none, has a password in it, or is in a list where none is allowed; an
                address of a store that cannot be read.
            MissingExtraError: the library that speaks to it is not installed.
        """
        if is_list and addresses and not self.allow_lists:
            raise UsageError(
                "a list has addresses in it, and whoever wrote it would decide whom this machine asks; where that is "
                "meant, give cxrzero predict --allow-remote-list"
            )
        for place in map(parse_object, addresses):
            if place.service not in self._named:
                check_installed(place)
                self._named.add(place.service)
                if not place.is_encrypted and not place.is_local:
                    self._say_open(place.service)

    def films(self, addresses: Iterable[str], counts: WalkCounts) -> Iterator[ImageRef]:
        """The objects at addresses that become rows, one address after the other, those below one in byte order of
        their keys; see `cxrzero.remote.listing`.

        Raises:
            RemoteError: a list cannot be had.
        """
        for each in read_ahead(self._found(addresses, counts), LISTED_AHEAD, self.hurried):
            if each.identity is None and each.error is None:
                name = each.address.service
                self._say(name, "states neither ETag nor time of change: nothing of it is kept in the cache")
            path, query = str(each.address), each.address.query
            yield ImageRef(SignedAddress(path, query) if query else path, each.error, each.identity)

    def _found(self, addresses: Iterable[str], counts: WalkCounts) -> Iterator[Found]:
        """Many addresses are looked at at once, as a list may name a million objects."""
        from concurrent.futures import ThreadPoolExecutor

        from cxrzero.remote.listing import LOOKED_AT_AHEAD, Lister

        def one() -> Iterator[Found]:
            place, lister, looked = waiting.popleft()
            found = looked.result()
            return lister.below(place) if found is None else iter((found,))

        waiting: deque[tuple[ObjectAddress, Lister, Future[Found | None]]] = deque()
        with ThreadPoolExecutor(self.limits.requests, thread_name_prefix="look") as pool:
            try:
                for place in map(parse_object, addresses):
                    lister = Lister(*self._service(place), self.limits, counts)
                    waiting.append((place, lister, pool.submit(lister.look, place)))
                    if len(waiting) > LOOKED_AT_AHEAD * self.limits.requests:
                        yield from one()
                while waiting:
                    yield from one()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def expect(self, ref: ImageRef) -> None:
        """Begin to fetch what is soon decoded."""
        known = _known(ref)
        with self._lock:
            if self._ahead is None:
                from cxrzero.remote.ahead import FetchAhead

                self._ahead = FetchAhead(self.limits.requests, self._ahead_bytes)
            self._ahead.expect(_asked(ref.path).url, known and known.size, partial(self.fetch, ref.path, known))

    def decode(
        self, ref: ImageRef, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
    ) -> Iterator[Radiograph]:
        """Decode an object from memory, which is fetched for that unless it was expected; safe to call from threads.

        It must have the identity of its ref, if that has one.

        Raises:
            ImageError: it cannot be had, or not be decoded; see docs/images.md for the codes.
            RemoteError: the store does not answer any more, or does not accept the login.
        """
        from cxrzero.images import decode_content

        ahead = self._ahead
        content = ahead.take(_asked(ref.path).url) if ahead else None
        if content is None:
            content = self.fetch(ref.path, _known(ref))
        yield from decode_content(content, options, decoder)

    def fetch(self, path: str, known: Entry | None = None, part: tuple[int, int] | None = None) -> bytes:
        """The content of an object, or (offset, size) of it.

        Args:
            known: what it must still be.

        Raises:
            ImageError, RemoteError: as `decode` does.
        """
        from cxrzero.remote.listing import asked_key

        place = _asked(path)
        service, patience = self._service(place)
        try:
            content = patience(lambda: service.fetch(asked_key(place), known, self.limits.object_bytes, part))
        except ImageError as error:
            self._count(place, error)
            raise
        self._refused = 0
        return content

    def open(self, path: str) -> ObjectFile:
        """An object to be read in parts; what is read is of one version.

        Raises:
            ImageError, RemoteError: as `decode` does; its size or version is not stated.
        """
        from cxrzero.remote.answers import missing
        from cxrzero.remote.listing import asked_key

        place = _asked(path)
        service, patience = self._service(place)
        known = patience(lambda: service.look(asked_key(place)))
        if known is None:
            raise missing()
        return ObjectFile(self, path, known)

    def exists(self, path: str) -> bool:
        """Whether there is an object of this name. Raises RemoteError where nobody can tell."""
        place = parse_object(path)
        service, patience = self._service(place)
        try:
            return patience(lambda: service.look(place.key)) is not None
        except ImageError as error:
            raise RemoteError(f"{place} cannot be looked at: {error.message}") from None

    def put(self, path: str, file: Path, *, overwrite: bool) -> None:
        """Write a file as an object, which is seen whole or not at all.

        Raises:
            OutputExistsError: it is there already.
            RemoteError: it cannot be written.
        """
        place = parse_object(path)
        service, patience = self._service(place)
        try:
            patience(lambda: service.put(place.key, file, overwrite=overwrite))
        except ImageError as error:
            raise RemoteError(f"{place} cannot be written: {error.message}") from None

    def remove(self, path: str) -> None:
        """Take an object away. Raises RemoteError, ImageError."""
        place = parse_object(path)
        service, patience = self._service(place)
        patience(lambda: service.remove(place.key))

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Meanwhile, what waits or is being received ends."""
        self._stop.set()
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead:
            ahead.close()
        try:
            yield
        finally:
            self._stop.clear()

    def close(self) -> None:
        self._stop.set()
        with self._lock:
            if self._ahead:
                self._ahead.close()
            for service, _ in self._services.values():
                service.close()
            self._services.clear()

    def _service(self, place: ObjectAddress) -> tuple[Service, Patience]:
        if place.service not in self._named:
            raise UsageError("the store of this address was not named")
        with self._lock:
            if place.service not in self._services:
                patience = Patience(self.limits, place.service, self._stop, STORE)
                service = opened(place, self.limits, patience, self._stop, self._ca_file)
                if not service.is_encrypted:
                    self._say_open(place.service)
                self._services[place.service] = service, patience
            return self._services[place.service]

    def _count(self, place: ObjectAddress, error: ImageError) -> None:
        """End the run where a login is refused again and again."""
        self._refused = self._refused + 1 if error.code == "remote_refused" else 0
        if self._refused >= self.limits.failures:
            from cxrzero.remote.answers import login_error

            raise login_error(place.service, f"{self._refused} objects in a row were refused") from None

    def _say_open(self, name: str) -> None:
        self._say(name, "is asked without encryption: others can read films on their way")

    def _say(self, name: str, what: str) -> None:
        if f"{name} {what}" not in self._said:
            self._said.add(f"{name} {what}")
            self._notify(f"Note: {name} {what}.")

    def __repr__(self) -> str:
        return f"<Objects: {counted(len(self._named), 'store')} named>"

    def __bool__(self) -> bool:
        """Whether a store is named at all."""
        return bool(self._named)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ObjectFile:
    """An object that is read in parts, all of one version; see `cxrzero.containers.blob.Blob`.

    Raises:
        ImageError: the store does not say what would tell one version from another.
    """

    def __init__(self, objects: Objects, path: str, known: Entry) -> None:
        identity = _asked(path).identity(known.size, known.version)
        if identity is None or known.size is None:
            raise ImageError(
                "remote_error", "the store states no size or no ETag, so that parts could be of different contents"
            )
        self._objects, self._path, self._known = objects, path, known
        self.size, self.identity = known.size, identity
        self._is_changed = False

    def read(self, offset: int, size: int) -> bytes:
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        try:
            content = self._objects.fetch(self._path, self._known, (offset, size))
        except ImageError as error:
            self._is_changed = error.code == "changed"
            self.check()
            raise
        if len(content) != size:
            raise ImageError("truncated", "the store's answer broke off")
        return content

    def check(self) -> None:
        """Whatever is read is compared at once, so there is only to repeat what was found."""
        if self._is_changed:
            raise ImageError("container_changed", CHANGED)


def _known(ref: ImageRef) -> Entry | None:
    """What an object must still be."""
    return Entry(ref.path, *known_of(ref.identity)) if isinstance(ref.identity, bytes) else None


def _asked(path: str) -> ObjectAddress:
    """The address of a row's path, with the query that it came with."""
    place = parse_object(path)
    query = getattr(path, "query", "") or place.query
    return ObjectAddress(place.scheme, place.host, place.key, query)
