"""The film of a table's row: where it is under a folder that the user names, and what is in it now."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cxrzero.archive.address import kept_file
from cxrzero.errors import ImageError
from cxrzero.heatmap.films import Film, films_in
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.geometry import Geometry
from cxrzero.pipeline.items import Failure
from cxrzero.places.kind import kind_of_place
from cxrzero.places.members import file_of
from cxrzero.sources import ImageRef
from cxrzero.sources.reader import Reader
from cxrzero.tables.changed import NO_FRAME
from cxrzero.tables.paths import path_of_cell
from cxrzero.tables.read import number


def find_film(root: Path, cell: str) -> Path | None:
    """The file of a path cell: the longest end of the path that is under the folder, and never one outside of it; of an
    address the one that --keep-files keeps, of a film in a .zip or .tar file its path in that."""
    if kind_of_place(cell) == "archive":
        file = kept_file(root, cell)
        return file if _is_file(file) else None
    for path in dict.fromkeys((cell, path_of_cell(cell))):
        for separators in (r"/", r"[\\/]"):  # a backslash is a letter on Unix, unless the table comes from Windows
            parts = [part for part in re.split(separators, path) if part not in ("", ".")]
            for first in range(len(parts)):
                file = root.joinpath(*parts[first:])
                inside = file.is_relative_to(root) and ".." not in file.parts[len(root.parts) :]
                if inside and _is_file(file):
                    return file
    return None


def read_frame(
    reader: Reader, file: Path, frame: int, options: DecodeOptions, geometries: Sequence[Geometry] = ()
) -> Film:
    """A frame of a file that `find_film` found, with a small picture of it.

    Args:
        geometries: of the models that are to see it.

    Raises:
        ImageError: it cannot be read, or there is no such frame.
    """
    decode = partial(reader.decode, options=options)
    found = films_in(ImageRef(file.as_posix()), decode, geometries, draw=True, is_wanted=lambda each: each == frame)
    film = next(found, None)
    if film is None:
        raise ImageError("changed", NO_FRAME)
    if isinstance(film, Failure):
        raise film.error
    return film


def frame_of_cell(cell: str) -> int:
    """A frame's number; 1 where none is stated."""
    try:
        value = number(cell)
    except ValueError:
        return 1
    return int(value) if value >= 1 else 1


def _is_file(file: Path) -> bool:
    try:
        return os.path.isfile(file_of(file.as_posix()))
    except (OSError, ValueError):  # a name that is too long, or has a NUL in it
        return False
