"""Decodes a film that was found, whatever its place is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from cxrzero.containers.open import OpenContainers
from cxrzero.errors import NoInputError
from cxrzero.images import decode, decode_content
from cxrzero.places.kind import kind_of_place
from cxrzero.places.members import parse_member
from cxrzero.sources.packed import open_blob
from cxrzero.sources.refs import FILES_ONLY, NO_OBJECTS, ImageRef

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.images.codecs import DecodeFrame
    from cxrzero.images.radiograph import DecodeOptions, Radiograph
    from cxrzero.sources.objects import Objects


class Reader:
    """Reads films; from many threads at once, and in decoding processes, each of which opens what it reads itself.

    Args:
        archives: that `check_paths` was told of; they stay in this process (`in_processes`).
        objects: the same of stores; they travel.
    """

    def __init__(self, archives: Archives | None = None, objects: Objects | None = None) -> None:
        self.archives, self.objects = archives, objects
        self._containers = OpenContainers(partial(open_blob, objects=objects))

    def decode(
        self, film: ImageRef | str, options: DecodeOptions | None = None, decoder: DecodeFrame | None = None
    ) -> Iterator[Radiograph]:
        """Decode every frame of a film, in order; arguments as of `cxrzero.images.decode`.

        Args:
            film: as it was found, or its path, of which nothing is then compared.

        Raises:
            ImageError: it cannot be had or decoded, or is no longer what was found.
            ArchiveError: an archive does not answer any more.
        """
        ref = ImageRef(film) if isinstance(film, str) else film
        if ref.picture is not None:
            return ref.picture.decode(options, decoder)
        kind = kind_of_place(ref.path)
        if kind == "archive":
            if not self.archives:
                raise NoInputError(FILES_ONLY)
            return self.archives.decode(ref.path, options, decoder)
        if kind == "member":
            return self._of_member(ref, options, decoder)
        if kind == "object":
            if self.objects is None:
                raise NoInputError(NO_OBJECTS)
            return self.objects.decode(ref, options, decoder)
        return decode(ref.path, options, decoder)

    def content(self, film: ImageRef | str) -> bytes:
        """The bytes of a member, as it was found or by its path. Raises ImageError: it cannot be had."""
        return self._content(ImageRef(film) if isinstance(film, str) else film)

    def _of_member(
        self, ref: ImageRef, options: DecodeOptions | None, decoder: DecodeFrame | None
    ) -> Iterator[Radiograph]:
        yield from decode_content(self._content(ref), options, decoder)

    def _content(self, ref: ImageRef) -> bytes:
        identity = ref.identity if isinstance(ref.identity, bytes) else None
        return self._containers.content(*parse_member(ref.path), identity)

    @property
    def in_processes(self) -> bool:
        """Whether decoding processes can read the same films; connections to archives are of this one."""
        return not self.archives

    def expect(self, ref: ImageRef) -> None:
        """Begin to fetch a film that is soon decoded, where that takes long."""
        if self.objects is not None and ref.error is None and kind_of_place(ref.path) == "object":
            self.objects.expect(ref)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Meanwhile, what waits for an archive or a store ends."""
        with (
            self.archives.hurried() if self.archives else nullcontext(),
            self.objects.hurried() if self.objects else nullcontext(),
        ):
            yield

    def __reduce__(self) -> tuple[Any, ...]:
        return Reader, (None, self.objects)
