"""Where the film of a table's row is, under a folder that the user names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cxrzero.archive.address import kept_file
from cxrzero.places.kind import kind_of_place
from cxrzero.places.members import file_of
from cxrzero.tables.paths import path_of_cell


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


def _is_file(file: Path) -> bool:
    try:
        return os.path.isfile(file_of(file.as_posix()))
    except (OSError, ValueError):  # a name that is too long, or has a NUL in it
        return False
