"""What the page calls films, and where they are: their paths and UIDs, or under --pseudonymise what stands for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cxrzero.places.kind import is_local
from cxrzero.places.members import file_of
from cxrzero.tables.paths import film_of_cell
from cxrzero.tables.pseudonym import Pseudonymiser


@dataclass(frozen=True, slots=True)
class Names:
    """How the films of one table are found and called.

    Attributes:
        images: the folder that relative paths start from.
        pseudonymiser: None shows paths and UIDs as the table has them.
        is_hidden: the table has pseudonyms already, so that no film is found, and none is replaced again.
    """

    images: Path
    pseudonymiser: Pseudonymiser | None = None
    is_hidden: bool = False

    def file(self, cell: str) -> Path:
        """Where the film of a path cell is."""
        return film_of_cell(cell, self.images)

    def received(self, cell: str) -> float:
        """When a film came in, as far as its file tells: its modification time; NaN where there is none. Of a film in
        a .zip or .tar file it is that file's."""
        try:
            return os.stat(file_of(self.file(cell).as_posix())).st_mtime
        except (OSError, ValueError):
            return float("nan")

    def path(self, cell: str) -> str:
        if self.pseudonymiser is None or self.is_hidden:
            return cell
        return self.pseudonymiser.path(self.file(cell).as_posix() if is_local(cell) else cell)

    def uid(self, uid: str) -> str:
        if self.pseudonymiser is None or self.is_hidden:
            return uid
        return self.pseudonymiser.uid(uid)

    def link(self, cell: str) -> str | None:
        """Address of the film's file, or of the one that it is in; None where it may not be shown."""
        if self.pseudonymiser is not None or self.is_hidden:
            return None
        return Path(os.path.abspath(file_of(self.file(cell).as_posix()))).as_uri()
