"""Tables on disk. A table appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cxrzero.choices import TableFormat
from cxrzero.errors import OutputError, OutputExistsError, UsageError
from cxrzero.prediction import Cell
from cxrzero.tables.writers import SUFFIXES, WRITERS, check_format

STDOUT = "-"


class Table:
    """Writes rows to `<out>.partial` and renames it to `out` when the run is complete.

    Opening it finds out, before any image is read, whether the output can be written at all.

    Args:
        out: path of the table, or "-" for standard output.
        columns: name → type of its cells (str, int or float), in order.
        table_format: None goes by the suffix of `out`.
        overwrite: replace a table that exists already.

    Raises:
        UsageError, OutputExistsError, OutputError, MissingExtraError: see `check_output`.
    """

    def __init__(
        self, out: str, columns: Mapping[str, type], table_format: TableFormat | None = None, *, overwrite: bool = False
    ) -> None:
        check_output(out, table_format, overwrite=overwrite)
        self.out = out
        self._path = Path(os.path.realpath(out))  # a link stays, what it leads to is replaced
        self._partial = Path(out + ".partial")
        self._closed = False
        try:
            self._file = _stdout() if out == STDOUT else _create(self._partial, out)
            self._writer = WRITERS[table_format_of(out, table_format)](self._file, columns)
        except OSError as error:
            raise _write_error(out, error) from error

    def write(self, cells: Sequence[Cell]) -> None:
        """Append one row, its cells in the order of the columns.

        Raises:
            OutputError: the disk is full or went away; what is written so far stays in `<out>.partial`.
        """
        try:
            self._writer.write(cells)
        except OSError as error:
            raise _write_error(self.out, error) from error

    def commit(self) -> None:
        """Give the complete table its name."""
        try:
            self._close_writer()
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
        # A run that ends early closes its partial table properly too: a Parquet file without its footer is unreadable.
        # Where the disk is the reason, that fails again, and the first error is the one to report.
        with contextlib.suppress(OSError):
            self._close_writer()
        if self.out != STDOUT:
            with contextlib.suppress(OSError):
                self._file.close()

    def _close_writer(self) -> None:
        if not self._closed:
            self._closed = True
            self._writer.close()
            self._file.flush()


def table_format_of(out: str, asked: TableFormat | None = None) -> TableFormat:
    """The format of a table: what was asked for, else what the suffix of its name says.

    Raises:
        UsageError: the suffix promises another format, or one that is not written; Parquet on standard output.
    """
    if out == STDOUT:
        if asked == "parquet":
            raise UsageError("Parquet cannot go to standard output; name a file with --out")
        return asked or "csv"
    suffix = Path(out).suffix.lower()
    promised = SUFFIXES.get(suffix)
    if asked and suffix and promised not in (None, asked):
        raise UsageError(f"--out {out} ends in {suffix}, but --format is {asked}; change one of them")
    if asked is None and promised is None:
        raise UsageError(f"--out {out}: tables are written as .csv, .jsonl or .parquet, not {suffix}; or give --format")
    return asked or promised or "csv"


def check_output(out: str, table_format: TableFormat | None = None, *, overwrite: bool) -> None:
    """Find out whether a table could be written, writing nothing.

    Raises:
        UsageError: the suffix promises a format that is not written, or contradicts the one asked for.
        MissingExtraError: the format needs a package that is not installed.
        OutputExistsError, OutputError: see `check_file`.
    """
    if out == STDOUT:
        table_format_of(out, table_format)
        return
    check_format(table_format_of(out, table_format))
    check_file(Path(out), overwrite=overwrite)


def check_file(path: Path, *, overwrite: bool) -> None:
    """Find out whether a file could be written at `path`, writing nothing.

    Raises:
        OutputExistsError: it exists and overwrite is false.
        OutputError: it is no regular file, or its folder does not exist or does not allow it.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a pipe or device; name a file, or - for standard output")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already; name another file, or give --overwrite to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"the folder {path.parent} cannot be written")


def _create(partial: Path, out: str) -> BinaryIO:
    file = partial.open("ab")
    _lock(file, out)
    if partial.is_file():
        file.truncate(0)
    return file


def _lock(file: BinaryIO, out: str) -> None:
    """Two runs must not mix their rows in one table; the lock ends with the process, however it ends."""
    if sys.platform == "win32":  # there a file that is open cannot be replaced by another run anyway
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputError(f"another run is writing {out}; wait for it, or choose another --out") from None


def _stdout() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer


def _write_error(out: str, error: OSError) -> OutputError:
    return OutputError(f"{out} cannot be written: {error.strerror or type(error).__name__}")
