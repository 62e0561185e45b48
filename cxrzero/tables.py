"""Tables on disk. A table appears under its name only when it is complete."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from cxrzero.errors import OutputError, OutputExistsError, UsageError
from cxrzero.prediction import Cell

STDOUT = "-"
TABLE_SUFFIXES = (".csv", "")


class Table:
    """Writes rows to `<out>.partial` and renames it to `out` when the run is complete.

    Opening it finds out, before any image is read, whether the output can be written at all.

    Args:
        out: path of the table, or "-" for standard output.
        columns: its columns, in order.
        overwrite: replace a table that exists already.

    Raises:
        OutputExistsError: `out` exists and overwrite is false.
        OutputError: the place cannot be written.
    """

    def __init__(self, out: str, columns: Sequence[str], *, overwrite: bool = False) -> None:
        self.out = out
        self.columns = tuple(columns)
        self._path = Path(os.path.realpath(out))  # a link stays, what it leads to is replaced
        self._partial = Path(out + ".partial")
        self._file = _stdout() if out == STDOUT else _create(Path(out), self._partial, overwrite)
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._write_row(self.columns)

    def write(self, row: Mapping[str, Cell]) -> None:
        """Append one row.

        Raises:
            OutputError: the disk is full or went away; what is written so far stays in `<out>.partial`.
        """
        self._write_row([_text(row[column]) for column in self.columns])

    def commit(self) -> None:
        """Give the complete table its name."""
        try:
            self._file.flush()
            if self.out != STDOUT:
                os.fsync(self._file.fileno())
                self._file.close()
                self._partial.replace(self._path)
        except OSError as error:
            raise _write_error(self.out, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.out != STDOUT:
            self._file.close()

    def _write_row(self, cells: Sequence[str]) -> None:
        try:
            self._writer.writerow(cells)
        except OSError as error:
            raise _write_error(self.out, error) from error


def check_output(out: str, *, overwrite: bool) -> None:
    """Find out whether a table could be written, writing nothing.

    Raises:
        UsageError: the suffix promises a format that is not written.
        OutputExistsError, OutputError: see `check_file`.
    """
    if out == STDOUT:
        return
    if Path(out).suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(f"--out {out}: tables are written as .csv, not {Path(out).suffix}")
    check_file(Path(out), overwrite=overwrite)


def check_file(path: Path, *, overwrite: bool) -> None:
    """Find out whether a file could be written at `path`, writing nothing.

    Raises:
        OutputExistsError: it exists and overwrite is false.
        OutputError: it is no regular file, or its folder does not exist or does not allow it.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it, for example {path / 'predictions.csv'}")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a pipe or device; name a file, or - for standard output")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; choose another --out, or give --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"the folder {path.parent} cannot be written")


def _create(path: Path, partial: Path, overwrite: bool) -> IO[str]:
    check_output(str(path), overwrite=overwrite)
    try:
        file = partial.open("a", encoding="utf-8", newline="")
        _lock(file, path)
        if partial.is_file():
            file.truncate(0)
        return file
    except OSError as error:
        raise _write_error(str(path), error) from error


def _lock(file: IO[str], path: Path) -> None:
    """Two runs must not mix their rows in one table; the lock ends with the process, however it ends."""
    if sys.platform == "win32":  # there a file that is open cannot be replaced by another run anyway
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputError(f"another run is writing {path}; wait for it, or choose another --out") from None


def _stdout() -> IO[str]:
    return sys.stdout


def _write_error(out: str, error: OSError) -> OutputError:
    return OutputError(f"{out} cannot be written: {error.strerror or type(error).__name__}")


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        # The shortest decimal that reads back as the same float32; never an exponent that a spreadsheet would round.
        return np.format_float_positional(np.float32(cell), unique=True, trim="0")
    return str(cell)
