"""What a Python program gave, paths and pictures, as one stream of films."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from cxrzero.errors import ImageError, ImagesEndedError, NoInputError
from cxrzero.places.kind import is_local, shown
from cxrzero.sources.find import check_paths, find_images
from cxrzero.sources.lists import expand_lists
from cxrzero.sources.pictures import (
    Images,
    Picture,
    ValueRange,
    check_value_range,
    is_one_picture,
    is_pair,
    is_path,
    picture_of,
    read_file,
)
from cxrzero.sources.refs import ImageRef, WalkCounts

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.sources.objects import Objects


class Given:
    """Images in any form, see `cxrzero.sources.pictures.ACCEPTED`.

    Args:
        images: one image, or an iterable of them; of a list or tuple every member is looked at now, of others each when
            its turn comes.
        column: of rows, which of their values is the image.
        value_range: what is black and what is white in floating point pictures.
        archives, objects: of addresses, see `check_paths`.
        by_content: pictures in memory are hashed, so that the cache knows them; it knows them by nothing else.

    Attributes:
        has_pictures: whether what is in memory may be among them, which stays in this process.
        gave_pictures: whether such was among those so far.
        count: of images, where that is known before they were looked at: None for folders and streams.

    Raises:
        ImageInputError: something given is no image.
        NoInputError: a path does not exist, or nothing is given.
    """

    def __init__(
        self,
        images: Images | None,
        *,
        column: str | None = None,
        value_range: ValueRange | None = None,
        archives: Archives | None = None,
        objects: Objects | None = None,
        by_content: bool = False,
    ) -> None:
        self._by_content = by_content
        self._column, self._value_range = column, check_value_range(value_range)
        self._archives, self._objects = archives, objects
        some: Any = () if images is None else images
        one = is_path(some) or is_one_picture(some)
        if one and not is_path(some):
            self._picture(some, 1)  # says what is wrong with it
        self._images: Iterable[Any] = [some] if one else some
        self.has_pictures, self.gave_pictures = not is_path(some), False
        self.count: int | None = None
        self._ended: Exception | None = None
        self._is_checked = isinstance(self._images, list | tuple)
        if isinstance(self._images, list | tuple):
            self._check(self._images)

    def _check(self, images: list[Any] | tuple[Any, ...]) -> None:
        paths = [os.fspath(image) for image in images if is_path(image)]
        self.has_pictures = len(paths) < len(images)
        if paths or not images:
            check_paths(paths, self._archives, self._objects)
        for number, image in enumerate(images, start=1):
            if not is_path(image):
                self._picture(image, number)
        if all(os.path.isfile(path) for path in paths):
            self.count = len(images)

    def films(self, counts: WalkCounts | None = None) -> Iterator[ImageRef]:
        """Stream them; pictures without a name are called "image 1", "image 2" … by their place among all.

        Where a program's own iterable raises, or gives what is no image, the stream ends; see `check_end`.

        Raises:
            NoInputError: a list file cannot be read, or is no list of paths.
        """
        counts = WalkCounts() if counts is None else counts
        try:
            yield from self._films(counts)
        except Exception as error:
            if self._is_checked:
                raise
            # What was decoded before it is still on its way: the stream ends, and `ended` says how.
            self._ended = error

    def _films(self, counts: WalkCounts) -> Iterator[ImageRef]:
        numbered = ((is_path(image), number, image) for number, image in enumerate(self._images, start=1))
        for are_paths, some in groupby(numbered, itemgetter(0)):
            if are_paths:
                paths = (os.fspath(image) for _, _, image in some)
                yield from find_images(paths, counts, self._archives, self._objects)
            else:
                for _, number, image in some:
                    counts.found += 1
                    yield self._film(image, number)

    def tally(self) -> int | None:
        """How many there are, by a walk of its own; None of a stream, and of what is far away."""
        if self.count is not None or not isinstance(self._images, list | tuple):
            return self.count
        paths = [os.fspath(image) for image in self._images if is_path(image)]
        try:
            if not all(map(is_local, expand_lists(paths))):
                return None
            return len(self._images) - len(paths) + sum(1 for _ in find_images(paths))
        except NoInputError:  # a list went away meanwhile, which is said where its films are read
            return None

    def check_end(self) -> None:
        """Say that the stream did not end by itself, after what was before its end was worked off.

        Raises:
            ImagesEndedError: from what the program's own iterable raised.
        """
        if self._ended is not None:
            raise ImagesEndedError(
                f"the images ended with {type(self._ended).__name__}: what was given for them raised it"
            ) from self._ended

    def _film(self, image: Any, number: int) -> ImageRef:
        self.gave_pictures = True
        name, picture = self._picture(image, number)
        if callable(getattr(picture.value, "read", None)):
            try:
                picture = Picture(read_file(picture.value))
            except ImageError as error:
                return ImageRef(name, error)
        return ImageRef(name, picture=picture, content=picture.content() if self._by_content else None)

    def __str__(self) -> str:
        """For messages: the paths, of which many are not listed."""
        if not isinstance(self._images, list | tuple):
            return "what was given"
        paths = [shown(os.fspath(image)) for image in self._images[:10] if is_path(image)]
        return ", ".join(paths) + ("" if len(self._images) <= 10 else " …") or "what was given"

    def _picture(self, image: Any, number: int) -> tuple[str, Picture]:
        name = f"image {number}"
        if is_pair(image):
            name, image = image
            if is_path(image):
                return name, Picture(os.fspath(image))
        return name, picture_of(image, repr(name), column=self._column, value_range=self._value_range)
