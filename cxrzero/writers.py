"""Formats of a table: CSV, JSON Lines and Parquet. Each writer turns rows of cells into bytes of one open file.

Scores are float32 in each of them. As text they are the shortest decimal that reads back as the same float32.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Literal, Protocol, cast

import numpy as np

from cxrzero.errors import MissingExtraError
from cxrzero.prediction import Cell

Format = Literal["csv", "jsonl", "parquet"]

# Spreadsheets run a cell that begins so as a formula (OWASP, "CSV Injection").
FORMULA_STARTS = frozenset({"=", "+", "-", "@", "\t", "\r"})

# Rows of text that are formatted at once: about 200 of a table for a few labels.
BLOCK_CELLS = 2**12

# A row group is held in memory until it is full: 1 Mi cells are some tens of MB as Python objects.
ROW_GROUP_CELLS = 2**20

# NumPy writes numbers below 1e-4 with an exponent (the float32 nearest to it is one); scores are at most 1, so none is
# too large.
PLAIN_FROM = 1e-3


class Writer(Protocol):
    """One format. `columns` maps names to the type of their cells: str, int or float (a score)."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None: ...

    def write(self, cells: Sequence[Cell]) -> None:
        """Append one row, its cells in the order of the columns."""

    def close(self) -> None:
        """Write what is still held back; the file stays open."""


class BlockWriter:
    """Holds rows back until there is a block of them: formatted together they take a third of the time.

    Args:
        columns: name → type of its cells.
        block_cells: a block has about as many cells.
        least_rows: and at least as many rows.
    """

    def __init__(self, columns: Mapping[str, type], block_cells: int = BLOCK_CELLS, least_rows: int = 16) -> None:
        self._rows: list[Sequence[Cell]] = []
        self._block_rows = max(least_rows, block_cells // len(columns))
        self._scores = [index for index, kind in enumerate(columns.values()) if kind is float]

    def write(self, cells: Sequence[Cell]) -> None:
        self._rows.append(cells)
        if len(self._rows) >= self._block_rows:
            self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._write_block(rows)

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        raise NotImplementedError

    def _decimals(self, rows: Sequence[Sequence[Cell]]) -> list[str]:
        """Of the scores, row by row."""
        return _decimals([row[index] for row in rows for index in self._scores])


class CsvWriter(BlockWriter):
    """Comma-separated, UTF-8, one header line; a text that a spreadsheet would run gets a leading apostrophe."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None:
        super().__init__(columns)
        self._file = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self._writer = csv.writer(_UnixLines(self._file), lineterminator=_UnixLines.END)
        self._texts = [index for index, kind in enumerate(columns.values()) if kind is str]
        self._others = [index for index, kind in enumerate(columns.values()) if kind not in (str, float)]
        self._writer.writerow(map(_no_formula, columns))

    def close(self) -> None:
        self._flush()
        self._file.detach()  # flushes

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        width = len(rows[0])
        cells = list(itertools.chain.from_iterable(rows))  # a column is every width-th of them
        for index in self._texts:
            texts = cast(list[str], cells[index::width])
            cells[index::width] = ["'" + text if text[:1] in FORMULA_STARTS else text for text in texts]
        for index in self._others:
            cells[index::width] = ["" if cell is None else str(cell) for cell in cells[index::width]]
        decimals = self._decimals(rows)
        for place, index in enumerate(self._scores):
            cells[index::width] = decimals[place :: len(self._scores)]
        lines = [cast(list[str], cells[start : start + width]) for start in range(0, len(cells), width)]
        block = "\n".join(map(",".join, lines)) + "\n"
        if _needs_quotes(block, len(rows), width):
            self._writer.writerows(lines)
        else:
            self._file.write(block)


class _UnixLines:
    """Turns CR LF into LF: `csv` quotes a CR only where it is a line end, and readers end a row at a bare CR."""

    END = "\r\n"

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix(self.END) + "\n")


class JsonlWriter(BlockWriter):
    """One JSON object a line, UTF-8, a column's name → its cell; null where there is none."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, type]) -> None:
        super().__init__(columns)
        self._file = file
        self._columns = tuple(columns)
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def close(self) -> None:
        self._flush()
        self._file.flush()

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        decimals = iter(self._decimals(rows))
        for cells in rows:
            row = list(cells)
            for index, text in zip(self._scores, decimals, strict=False):
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
            self._flush()
        finally:
            self._writer.close()

    def _write_block(self, rows: Sequence[Sequence[Cell]]) -> None:
        columns = zip(zip(*rows, strict=True), self._schema.types, strict=True)
        arrays = [self._array(cells, kind) for cells, kind in columns]
        self._writer.write_batch(self._record_batch(arrays, schema=self._schema))


WRITERS: dict[Format, Callable[[BinaryIO, Mapping[str, type]], Writer]] = {
    "csv": CsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
}
SUFFIXES: dict[str, Format] = {"": "csv", ".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


def check_format(table_format: Format) -> None:
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


def _no_formula(text: str) -> str:
    return "'" + text if text[:1] in FORMULA_STARTS else text


def _needs_quotes(block: str, rows: int, columns: int) -> bool:
    """Whether any cell of a block, joined by commas and line ends, holds what CSV must quote."""
    is_plain = block.count(",") == rows * (columns - 1) and block.count("\n") == rows
    return not is_plain or '"' in block or "\r" in block


def _decimals(scores: Sequence[Cell]) -> list[str]:
    """The shortest decimals that read back as the same float32, never with an exponent; "" for None."""
    values = np.array(scores, np.float32)  # None becomes NaN
    texts: list[str] = values.astype("U16").tolist()  # at most 15 characters, as in -1.17549435e-38
    for index in np.flatnonzero(~(np.abs(values) >= PLAIN_FROM)):  # NaN, 0 and what has an exponent
        texts[index] = _decimal(values[index])
    return texts


def _decimal(value: np.float32) -> str:
    return "" if np.isnan(value) else np.format_float_positional(value, unique=True, trim="0")
