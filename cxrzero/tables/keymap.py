"""`--key-map`: which film is behind each pseudonym, for the hospital alone. Whoever has this file needs no key."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from cxrzero.errors import UsageError
from cxrzero.places.kind import kind_of_place
from cxrzero.prediction import Prediction, printable_path
from cxrzero.tables.table import STDOUT, Table, check_output

UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
COLUMNS = ("path_pseudonym", "path", *(name for uid in UIDS for name in (f"{uid}_pseudonym", uid)))


class KeyMap:
    """A CSV file with a row for each file that was read, in the order of the table, readable by the user only."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._table = Table(str(path), dict.fromkeys(COLUMNS, str), "csv", overwrite=overwrite, private=True)
        self._last = ""

    def add(self, row: Prediction, shown: Prediction) -> None:
        """Note a row of the table and what it shows; frames of one file are noted once.

        Raises:
            OutputError: the disk is full or went away.
        """
        if row.path != self._last:
            self._last = row.path
            uids = (text for uid in UIDS for text in (getattr(shown.facts, uid), getattr(row.facts, uid)))
            self._table.write([shown.path, printable_path(os.path.abspath(row.path)), *uids])

    def commit(self) -> None:
        self._table.commit()

    def __enter__(self) -> Self:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.__exit__(kind, error, trace)


def check_key_map(path: Path, out: str, *, overwrite: bool) -> None:
    """Find out whether it could be written, and that it does not go where the table goes.

    Raises:
        UsageError: it would lie in the table's folder, or below it, or is no CSV file.
        OutputExistsError, OutputError: see `cxrzero.files.check_file`.
    """
    if path.suffix.lower() != ".csv":  # standard output neither, which is logged, and where the table may go
        raise UsageError(f"--key-map {path} is written as a CSV file; give it a name that ends in .csv")
    folder = Path(os.path.realpath(path)).parent
    shared = None if out == STDOUT or kind_of_place(out) == "object" else Path(os.path.realpath(out)).parent
    if shared is not None and folder.is_relative_to(shared):
        raise UsageError(
            f"--key-map {path} would lie in {shared}, beside the table that it makes readable; name a file in a folder "
            "that stays in the hospital, or give --out a folder of its own"
        )
    check_output(str(path), "csv", overwrite=overwrite)
