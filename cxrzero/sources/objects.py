"""What is asked of object stores (s3, gs, az, https …), whatever library speaks to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from cxrzero.sources.refs import ImageRef

if TYPE_CHECKING:
    from cxrzero.containers.blob import Blob
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Radiograph


class Objects(Protocol):
    """Stores by the addresses that a command was given; nothing is asked before `films` or `decode` is called."""

    def check(self, addresses: Sequence[str]) -> None:
        """Get ready to ask these, and no others. Raises UsageError, MissingExtraError."""

    def films(self, address: str) -> Iterator[ImageRef]:
        """The films at an address, in order; a list that cannot be had is a ref with an error."""

    def open(self, address: str) -> Blob:
        """The bytes of the .zip or .tar file at an address. Raises ImageError: it cannot be had."""

    def decode(
        self, ref: ImageRef, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
    ) -> Iterator[Radiograph]:
        """Fetch a film, which must have the identity of its ref where that has one, and decode it from memory.

        Raises:
            ImageError: it cannot be had, is another one now, or cannot be decoded.
        """
