"""What is asked of a store, whatever it speaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from cxrzero.archive.limits import Peer
from cxrzero.errors import RemoteError

STORE = Peer("the store", "remote", "missing", RemoteError)


class Entry(NamedTuple):
    """An object as a store lists it.

    Attributes:
        key: as in `cxrzero.remote.address.ObjectAddress`.
        size: in bytes; None where it is not stated.
        version: ETag, generation or time of change: what is another one when the content is; "" where nothing is.
    """

    key: str
    size: int | None = None
    version: str = ""


class Service(Protocol):
    """A store that is open; safe to use in threads, and not after a fork.

    Each method but `entries` asks once: it raises TransientError where another try may help, ImageError about one
    object, and RemoteError, which ends the run. `entries` asks again by itself.

    Attributes:
        is_encrypted: whether nobody can read what goes by, or nothing leaves this machine.
    """

    is_encrypted: bool

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects whose keys begin so, page by page, in byte order of keys."""

    def look(self, key: str) -> Entry | None:
        """One object without its content; None where there is none, but there may be some below it."""

    def fetch(self, key: str, known: Entry | None, most_bytes: int, part: tuple[int, int] | None = None) -> bytes:
        """Its content, or (offset, size) of it, of which less comes where it is shorter.

        Args:
            known: what it must still be; an object that was replaced since is "changed".
        """

    def put(self, key: str, file: Path, *, overwrite: bool) -> None:
        """Write an object, which is seen whole or not at all.

        Raises:
            OutputExistsError: it is there already.
        """

    def remove(self, key: str) -> None:
        """Take an object away; it may be gone already."""

    def close(self) -> None:
        """End all connections."""
