"""What is asked of object stores (s3, gs, az, https …), whatever library speaks to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from cxrzero.sources.refs import ImageRef, WalkCounts

if TYPE_CHECKING:
    from cxrzero.containers.blob import Blob
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Radiograph


class Objects(Protocol):
    """Stores by the addresses that a command was given; nothing is asked before `films` or `decode` is called."""

    def check(self, addresses: Sequence[str], *, is_list: bool = False) -> None:
        """Get ready to ask these, and no others.

        Args:
            is_list: they stand in a list file.

        Raises:
            UsageError: one is no address, or in a list where none may be.
            MissingExtraError: what speaks to its store is not installed.
        """

    def films(self, addresses: Iterable[str], counts: WalkCounts) -> Iterator[ImageRef]:
        """The films at addresses, in order; what cannot be had of one is a ref with an error.

        Raises:
            RemoteError: there is no list.
        """

    def expect(self, ref: ImageRef) -> None:
        """Begin to fetch a film that is soon decoded."""

    def open(self, address: str) -> Blob:
        """The bytes of the .zip or .tar file at an address. Raises ImageError: it cannot be had."""

    def decode(
        self, ref: ImageRef, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
    ) -> Iterator[Radiograph]:
        """Fetch a film, which must have the identity of its ref where that has one, and decode it from memory.

        Raises:
            ImageError: it cannot be had, is another one now, or cannot be decoded.
            RemoteError: the store does not answer any more, or does not accept the login.
        """

    def hurried(self) -> AbstractContextManager[None]:
        """Meanwhile, what waits for a store ends."""

    def close(self) -> None:
        """End all connections, as leaving its context does."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
