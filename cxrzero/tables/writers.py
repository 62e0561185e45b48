"""Formats of a table: CSV, JSON Lines and Parquet. Each writer turns rows of cells into bytes of one open file.

Scores are float32 in each of them; as text, see `cxrzero.tables.decimals`.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, cast

from cxrzero.choices import TableFormat
from cxrzero.errors import MissingExtraError
from cxrzero.files import FORMULA_STARTS, no_formula
from cxrzero.prediction import Cell
from cxrzero.tables.decimals import joined_decimals

# Rows of text that are formatted at once: about 1,000 of a table for a few labels.
BLOCK_CELLS = 2**14

# A row group is held in memory until it is full: 1 Mi cells are some tens of MB as Python objects.
ROW_GROUP_CELLS = 2**20


class Writer(Protocol):
    """One format. `columns` maps names to the type of their cells: str, int or float (a score)."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None: ...

    def write(self, cells: Sequence[Cell]) -> None:
        """Append one row, its cells in the order of the columns."""

    def flush(self) -> None:
        """Write what is still held back."""

    def close(self) -> None:
        """Write what is still held back, for the last time; the file stays open."""


class BlockWriter(ABC):
    """Holds rows back until there is a block of them: formatted together they take a third of the time.

    Args:
        columns: name → type of its cells.
        block_cells: a block has about as many cells.
        least_rows: and at least as many rows.
    """

    def __init__(self, columns: Mapping[str, type], block_cells: int = BLOCK_CELLS, least_rows: int = 16) -> None:
        self._rows: list[Sequence[Cell]] = []
        self._block_rows = max(least_rows, block_cells // len(columns))

    def write(self, cells: Sequence[Cell]) -> None:
        self._rows.append(cells)
        if len(self._rows) >= self._block_rows:
            self.flush()

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._write_block(rows)

    @abstractmethod
    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None: ...


class CsvWriter(BlockWriter):
    """Comma-separated, UTF-8, one header line; a text that a spreadsheet would run gets a leading apostrophe."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None:
        super().__init__(columns)
        self._file = file
        self._writer = csv.writer(_UnixLines(file), lineterminator=_UnixLines.END)
        self._width = len(columns)
        self._runs = _runs(columns)
        self._writer.writerow(map(no_formula, columns))

    def flush(self) -> None:
        super().flush()
        self._file.flush()

    def close(self) -> None:
        self.flush()

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        lines = list(zip(*self._texts(rows), strict=True))
        block = "\n".join(map(",".join, lines)) + "\n"
        if _needs_quotes(block, len(rows), self._width):
            self._writer.writerows(map(self._apart, lines))
        else:
            self._file.write(block.encode())

    def _texts(self, rows: Sequence[Sequence[Cell]]) -> Iterator[list[str]]:
        """Make each column's cells text; neighbouring scores are one column, joined by commas."""
        columns = list(zip(*rows, strict=True))
        for kind, run in self._runs:
            if kind is float:
                yield joined_decimals(cast(list[list[float | None]], [row[run] for row in rows]))
            elif kind is str:
                texts = cast(tuple[str, ...], columns[run.start])
                is_safe = FORMULA_STARTS.isdisjoint(text[:1] for text in set(texts))
                yield list(texts) if is_safe else list(map(no_formula, texts))
            else:
                yield ["" if cell is None else str(cell) for cell in columns[run.start]]

    def _apart(self, line: Sequence[str]) -> Iterator[str]:
        """The cells of a line, scores one by one."""
        for (kind, _), text in zip(self._runs, line, strict=True):
            yield from text.split(",") if kind is float else (text,)


class _UnixLines:
    """Turns CR LF into LF, and text into UTF-8: `csv` quotes a CR only where it is a line end, and readers end a row at
    a bare CR."""

    END = "\r\n"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(f"{line.removesuffix(self.END)}\n".encode())


class JsonlWriter(BlockWriter):
    """One JSON object a line, UTF-8, a column's name → its cell; null where there is none."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None:
        super().__init__(columns)
        self._file = file
        self._columns = tuple(columns)
        self._scores = [index for index, kind in enumerate(columns.values()) if kind is float]
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def flush(self) -> None:
        super().flush()
        self._file.flush()

    def close(self) -> None:
        self.flush()

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        scores = [[row[index] for index in self._scores] for row in rows]
        for cells, decimals in zip(rows, joined_decimals(cast(list[list[float | None]], scores)), strict=True):
            row = list(cells)
            for index, text in zip(self._scores, decimals.split(","), strict=False):
                row[index] = float(text) if text else None  # a decimal this short is its own shortest float64
            self._file.write(self._encode(dict(zip(self._columns, row, strict=True))).encode() + b"\n")


class ParquetWriter(BlockWriter):
    """Apache Parquet: strings, int32 and float32, in row groups of about a million cells.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None:
        super().__init__(columns, ROW_GROUP_CELLS, least_rows=1)
        pyarrow, parquet = _import_pyarrow()
        types = {str: pyarrow.string(), int: pyarrow.int32(), float: pyarrow.float32()}
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
        self._record_batch = pyarrow.record_batch
        self._array = pyarrow.array
        self._writer = parquet.ParquetWriter(file, self._schema)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._writer.close()

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        columns = zip(zip(*rows, strict=True), self._schema.types, strict=True)
        arrays = [self._array(cells, kind) for cells, kind in columns]
        self._writer.write_batch(self._record_batch(arrays, schema=self._schema))


WRITERS: dict[TableFormat, Callable[[BinaryIO, Mapping[str, type]], Writer]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
}
SUFFIXES: dict[str, TableFormat] = {"": "csv", ".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


def check_format(table_format: TableFormat) -> None:
    """Find out whether a format can be written here.

    Raises:
        MissingExtraError: it needs a package that is not installed.
    """
    if table_format == "parquet":
        _import_pyarrow()


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    return pyarrow, parquet


def _runs(columns: Mapping[str, type]) -> list[tuple[type, slice]]:
    """Tell where each column is; neighbouring scores stand together."""
    runs: list[tuple[type, slice]] = []
    for index, kind in enumerate(columns.values()):
        if kind is float and runs and runs[-1][0] is float:
            runs[-1] = (float, slice(runs[-1][1].start, index + 1))
        else:
            runs.append((kind, slice(index, index + 1)))
    return runs


def _needs_quotes(block: str, rows: int, columns: int) -> bool:
    """Whether any cell of a block, joined by commas and line ends, holds what CSV must quote."""
    is_plain = block.count(",") == rows * (columns - 1) and block.count("\n") == rows
    return not is_plain or '"' in block or "\r" in block
