"""Where the film of a table's path cell is."""

from __future__ import annotations

import os
from pathlib import Path

from cxrzero.archive.address import kept_file
from cxrzero.files import FORMULA_STARTS
from cxrzero.places.kind import is_local, kind_of_place
from cxrzero.places.members import file_of
from cxrzero.places.printed import unprinted

# A name that no copy of a film has.
NOWHERE = ".no-copy"


def path_of_cell(cell: str, folder: str | os.PathLike[str] = "") -> str:
    """The path as it is written there, else without what tables add to names: an apostrophe before what a spreadsheet
    would run, and backslashes for bytes that are not UTF-8. The last where none of them exists below `folder`; a member
    of a container exists where that does."""
    plain = cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA_STARTS else cell
    return next((path for path in (cell, plain) if _exists(os.path.join(folder, path))), unprinted(plain))


def film_of_cell(cell: str, images: Path) -> Path:
    """Where the film of a path cell is, if relative paths start from `images`; one of an archive is where --keep-files
    keeps it in that folder, and one of a store where its copy lies: under the longest end of its address."""
    if kind_of_place(cell) == "archive":
        return kept_file(images, cell)
    if not is_local(cell):
        parts = [part for part in cell.partition("://")[2].split("/") if part not in ("", ".", "..")]
        copies = [images.joinpath(*parts[first:]) for first in range(len(parts))]
        return next((copy for copy in copies if _exists(copy.as_posix())), images / NOWHERE)
    return images / path_of_cell(cell, images)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(file_of(path))
    except ValueError:  # a NUL in it
        return False
