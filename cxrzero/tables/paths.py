"""Where the film of a table's path cell is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cxrzero.archive.address import kept_file
from cxrzero.files import FORMULA_STARTS
from cxrzero.places.kind import kind_of_place

# A byte of a name that is not UTF-8, as tables write it (`cxrzero.prediction.printable_path`).
_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


def path_of_cell(cell: str, folder: str | os.PathLike[str] = "") -> str:
    """The path as it is written there, else without what tables add to names: an apostrophe before what a spreadsheet
    would run, and backslashes for bytes that are not UTF-8. The last where none of them exists below `folder`."""
    plain = cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA_STARTS else cell
    coded = plain.encode("utf-8", "backslashreplace")
    raw = os.fsdecode(_BYTE.sub(lambda found: bytes([int(found[1], 16)]), coded))
    return next((path for path in (cell, plain) if _exists(os.path.join(folder, path))), raw)


def film_of_cell(cell: str, images: Path) -> Path:
    """Where the film of a path cell is, if relative paths start from `images`; one of an archive is where --keep-files
    keeps it in that folder."""
    return kept_file(images, cell) if kind_of_place(cell) == "archive" else images / path_of_cell(cell, images)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in it
        return False
