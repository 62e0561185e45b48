"""Tables on disk. A table appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from cxrzero.choices import TableFormat
from cxrzero.display.visible import visible
from cxrzero.errors import OutputError, UsageError, WriteError
from cxrzero.files import STDOUT_NAME, WholeFile, cannot_write, check_file
from cxrzero.prediction import Cell
from cxrzero.tables.writers import SUFFIXES, WRITERS, check_format

STDOUT = "-"


class Digested(io.BufferedIOBase):
    """Writes to a file that someone else closes, and takes the SHA-256 of what it writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of all that was written so far, hexadecimal."""
        return self._sha256.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._file.write(data)
        self._sha256.update(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Nothing: the file is not its own."""


class Table:
    """Writes rows to `<out>.partial` and renames it to `out` when the run is complete.

    Opening it finds out, before any image is read, whether the output can be written at all.

    Args:
        out: path of the table, or "-" for standard output.
        columns: name → type of its cells (str, int or float), in order.
        table_format: None goes by the suffix of `out`.
        overwrite: replace a table that exists already.
        private: readable by the user only.

    Raises:
        UsageError, OutputExistsError, OutputError, MissingExtraError: see `check_output`.
    """

    def __init__(
        self,
        out: str,
        columns: Mapping[str, type],
        table_format: TableFormat | None = None,
        *,
        overwrite: bool = False,
        private: bool = False,
    ) -> None:
        check_output(out, table_format, overwrite=overwrite)
        self.out = out
        self._whole = None if out == STDOUT else WholeFile(out, keep=True, private=private)
        self._file = Digested(self._whole.file if self._whole else _stdout())
        self._on_screen = self._whole is None and sys.stdout.isatty()
        self._closed = False
        try:
            names = map(visible, columns) if self._on_screen else columns
            shown = dict(zip(names, columns.values(), strict=True))
            self._writer = WRITERS[table_format_of(out, table_format)](cast(BinaryIO, self._file), shown)
        except OSError as error:
            raise self._lost(error) from error

    def write(self, cells: Sequence[Cell]) -> None:
        """Append one row, its cells in the order of the columns; a terminal shows it at once, and its texts `visible`.

        Raises:
            OutputError: the disk is full or went away; what is written so far stays in `<out>.partial`.
            ReaderGoneError: nobody reads standard output any more.
        """
        try:
            if self._on_screen:
                self._writer.write([visible(cell) if isinstance(cell, str) else cell for cell in cells])
                self._writer.flush()
            else:
                self._writer.write(cells)
        except OSError as error:
            raise self._lost(error) from error

    def commit(self) -> None:
        """Give the complete table its name."""
        try:
            self._close_writer()
            if self._whole:
                self._whole.commit()
        except OSError as error:
            raise self._lost(error) from error

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written, hexadecimal; of the whole table once it is complete."""
        return self._file.sha256

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that ends early closes its partial table properly too: a Parquet file without its footer is unreadable.
        # Where the disk is the reason, that fails again, and the first error is the one to report.
        with contextlib.suppress(OSError):
            self._close_writer()
        if self._whole:
            self._whole.close()

    def _lost(self, error: OSError) -> WriteError:
        return cannot_write(STDOUT_NAME if self.out == STDOUT else self.out, error)

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
        OutputExistsError, OutputError: see `cxrzero.files.check_file`; standard output is closed.
    """
    if out == STDOUT:
        table_format_of(out, table_format)
        if sys.stdout is None:
            raise OutputError("standard output is closed; name a file with --out")
        return
    check_format(table_format_of(out, table_format))
    check_file(Path(out), overwrite=overwrite)


def _stdout() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer
