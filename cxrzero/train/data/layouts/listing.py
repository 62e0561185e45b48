"""All files below a folder, in an order that is the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrzero.errors import NoInputError
from cxrzero.images.leftovers import is_leftover_file, is_leftover_folder
from cxrzero.images.sniff import kind_of
from cxrzero.sources import IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder and the names of the files in it, compared as bytes."""

    path: Path
    names: tuple[str, ...]

    def images(self) -> list[str]:
        """Files whose suffix claims an image, and nameless-suffix files that are one by content."""
        return [name for name in self.names if is_image(self.path, name)]


def is_image(folder: Path, name: str) -> bool:
    if is_leftover_file(str(folder / name), name):
        return False
    suffix = os.path.splitext(name)[1].lower()
    return suffix in IMAGE_SUFFIXES or (not suffix and kind_of(folder / name) not in (None, "dicomdir"))


def walk(folder: Path) -> Iterator[Folder]:
    """Depth first; links are followed, but not back to a folder that is being walked.

    Raises:
        NoInputError: a folder cannot be listed.
    """
    yield from _walk(folder, ())


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Folder]:
    try:
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        folders = [entry.name for entry in listed if entry.is_dir()]
    except OSError as error:
        raise NoInputError(f"the folder {folder} cannot be listed: {error.strerror}") from error
    inside = set(folders)
    yield Folder(folder, tuple(entry.name for entry in listed if entry.name not in inside))
    for name in (name for name in folders if not is_leftover_folder(name)):
        yield from _walk(folder / name, (*above, identity))
