"""Tables as people really have them: any delimiter, encoding and decimal sign, read once and in chunks.

CSV and its relatives, JSON Lines, and Parquet where pyarrow is installed. Only the columns asked for are kept: text as
lists of str, numbers as float64 arrays. A million rows of 14 numbers therefore cost 8 bytes a cell.
"""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.errors import ConfigError, MissingExtraError, NoInputError
from cxrzero.files import ADDRESS, is_database
from cxrzero.maths import Floats
from cxrzero.tables.names import some_of

CHUNK_ROWS = 50_000  # rows turned into arrays at a time; bounds the number of Python strings alive
DELIMITERS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})  # compared lower-case and stripped


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table that was opened far enough to know its columns.

    Attributes:
        path: the file.
        kind: "csv", "jsonl" or "parquet".
        columns: names in file order, stripped.
        encoding, delimiter: how the text is read; empty for Parquet.
        notes: what had to be assumed, for the report.
    """

    path: Path
    kind: str
    columns: tuple[str, ...]
    encoding: str = ""
    delimiter: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The chosen columns of a table. Row i is data row i + 1 of the file (the header is not counted)."""

    source: TableSource
    n_rows: int
    text: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, Floats] = field(default_factory=dict)


def open_table(path: Path) -> TableSource:
    """Look at the start of a table: kind, encoding, delimiter, column names.

    Raises:
        NoInputError: the file is missing, empty or has no data.
        ConfigError: it is not a table, or cannot be decoded.
        MissingExtraError: Parquet without pyarrow.
    """
    if is_database(path):
        raise ConfigError(
            "this is a database and no table; write its table first, and give that: cxrzero table DATABASE --out "
            "predictions.csv"
        )
    if not path.is_file():
        if ADDRESS.match(str(path)):
            raise NoInputError("an address is given where a table is read: copy the table here, and give the copy")
        raise NoInputError(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head.strip():
        raise NoInputError(f"{path}: the file is empty")
    if head.startswith(b"PAR1"):
        return TableSource(path, "parquet", tuple(_parquet_file(path).schema_arrow.names))
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ConfigError(f"{path}: this is a spreadsheet or an archive; export it as CSV")
    encoding = _encoding(path, head)
    notes = () if encoding.startswith("utf") else ("not valid UTF-8, read as Windows-1252",)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return TableSource(path, "jsonl", _jsonl_columns(path, encoding), encoding, notes=notes)
    delimiter, columns = _header(path, encoding)
    return TableSource(path, "csv", columns, encoding, delimiter, notes)


def read_table(
    source: TableSource, *, text: Iterable[str] = (), categories: Iterable[str] = (), numbers: Iterable[str] = ()
) -> Columns:
    """Read the named columns; a column may be asked for as text or as numbers, not both.

    `categories` are text columns of few different values, of which each is kept once in memory. Blank cells become NaN.
    A decimal comma is understood where the cell has one comma and no point.

    Raises:
        ConfigError: a column is missing or there twice, a row is ragged, or a cell is not a number.
    """
    shared: dict[str, dict[str, str]] = {name: {} for name in categories}
    text_names, number_names = tuple(dict.fromkeys((*text, *shared))), tuple(dict.fromkeys(numbers))
    kept_text: dict[str, list[str]] = {name: [] for name in text_names}
    kept_numbers: dict[str, list[Floats]] = {name: [] for name in number_names}
    n_rows = 0
    for first_row, n, cells_of in chunks(source, (*text_names, *number_names)):
        for name in text_names:
            cells = [cell.strip() for cell in cells_of(name)]
            if name in shared:
                cells = [shared[name].setdefault(cell, cell) for cell in cells]
            kept_text[name].extend(cells)
        for name in number_names:
            kept_numbers[name].append(floats(cells_of(name), source.path, name, first_row))
        n_rows = first_row + n
    if n_rows == 0:
        raise NoInputError(f"{source.path}: the table has a header but no rows")
    return Columns(source, n_rows, kept_text, {name: np.concatenate(parts) for name, parts in kept_numbers.items()})


def columns_that(source: TableSource, names: Iterable[str], fits: Callable[[str, list[str]], bool]) -> tuple[str, ...]:
    """Name the columns of which every part fits; nothing is kept of any, and one that does not fit is read no further.

    Columns whose name another one has are not looked at.

    Args:
        fits: of a column's name and some thousands of its cells, in order.

    Raises:
        ConfigError: a row is ragged.
    """
    left = [name for name in dict.fromkeys(names) if source.columns.count(name) == 1]
    for _, _, cells_of in chunks(source, left) if left else ():
        left = [name for name in left if fits(name, [cell.strip() for cell in cells_of(name)])]
        if not left:
            break
    return tuple(left)


def number(cell: str) -> float:
    """One cell as a float; NaN where it is blank or says so.

    Raises:
        ValueError: it is not a number.
    """
    cell = cell.strip()
    if cell.lower() in MISSING:
        return float("nan")
    if cell.count(",") == 1 and "." not in cell:
        cell = cell.replace(",", ".")
    return float(cell)


def chunks(source: TableSource, names: Sequence[str]) -> Iterator[tuple[int, int, Callable[[str], list[str]]]]:
    """Yield some thousands of rows at a time: the first one's number from 0, how many they are, and cells by column.

    Cells are as the file has them, with the spaces around them.

    Raises:
        ConfigError: a column is missing or there twice, or a row is ragged.
    """
    places = {name: _place(source, name) for name in names}
    first_row = 0
    rows = _rows(source)
    try:
        while chunk := list(itertools.islice(rows, CHUNK_ROWS)):

            def cells_of(name: str, chunk: list[Sequence[str]] = chunk) -> list[str]:
                place = places[name]
                return [row[place] for row in chunk]

            yield first_row, len(chunk), cells_of
            first_row += len(chunk)
    except csv.Error as error:
        raise ConfigError(f"{source.path}: not readable as CSV near data row {first_row + 1}: {error}") from None


def floats(cells: Sequence[str], path: Path, column: str, first_row: int) -> Floats:
    """Cells as numbers, see `number`; `first_row`, from 0, is the first one's, for the message."""
    try:
        return np.array([cell or "nan" for cell in cells], dtype=np.float64)
    except ValueError:
        pass  # a decimal comma, a word for "missing", or a wrong cell: look at each
    values = np.empty(len(cells))
    for index, cell in enumerate(cells):
        try:
            values[index] = number(cell)
        except ValueError:
            row = first_row + index + 1
            raise ConfigError(f"{path}: column {column!r}, data row {row}: {cell[:40]!r} is not a number") from None
    return values


def _place(source: TableSource, name: str) -> int:
    count = source.columns.count(name)
    if count != 1:
        problem = "has no column" if count == 0 else "has more than one column named"
        raise ConfigError(f"{source.path}: the table {problem} {name!r}; its columns: {some_of(source.columns)}")
    return source.columns.index(name)


def _encoding(path: Path, head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\x00" in head:
        raise ConfigError(f"{path}: this is not a text table (it contains NUL bytes)")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            while stream.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _header(path: Path, encoding: str) -> tuple[str, tuple[str, ...]]:
    """The delimiter that is stated, else that which splits the heading into most columns, and those columns.

    One that splits the first row into as many goes before others: a heading may hold the others' signs.
    """
    with _open_text(path, encoding) as stream:
        stated, _ = _after_separator_line(stream)
    parsed = {each: _first_records(path, encoding, each) for each in (stated or DELIMITERS)}

    def fitness(delimiter: str) -> tuple[bool, int]:
        heading, first = parsed[delimiter]
        return len(heading) == len(first) > 1, len(heading)

    delimiter = max(parsed, key=fitness)
    # A name may be broken over two lines inside its quotes.
    columns = tuple(re.sub(r"\s*[\r\n]+\s*", " ", cell.strip()) for cell in parsed[delimiter][0])
    if len(columns) < 2:
        raise ConfigError(f"{path}: no table: the first line has no comma, semicolon or tab between column names")
    return delimiter, columns


def _first_records(path: Path, encoding: str, delimiter: str) -> tuple[list[str], list[str]]:
    """The heading and the first row, [] where there is none or where this delimiter makes none of it."""
    with _open_text(path, encoding) as stream:
        rows = filter(any, csv.reader(_after_separator_line(stream)[1], delimiter=delimiter))
        try:
            heading = next(rows, [])
        except csv.Error as error:
            raise ConfigError(f"{path}: not readable as CSV in its heading: {error}") from None
        try:
            return heading, next(rows, [])
        except csv.Error:
            return heading, []


def _after_separator_line(stream: Iterable[str]) -> tuple[str, Iterator[str]]:
    """The delimiter that a first line `sep=;` states, as Excel writes it, else ""; and the lines that follow it."""
    lines = iter(stream)
    for line in lines:
        if not line.strip():
            continue
        stated = _SEPARATOR_LINE.fullmatch(line.strip(" \r\n"))
        if stated:
            return stated[1], lines
        return "", itertools.chain([line], lines)
    return "", lines


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    # cp1252 leaves five bytes undefined; they become U+FFFD rather than the end of the run.
    return path.open(encoding=encoding, errors="replace" if encoding == "cp1252" else "strict", newline="")


def _rows(source: TableSource) -> Iterator[Sequence[str]]:
    if source.kind == "parquet":
        return _parquet_rows(source)
    if source.kind == "jsonl":
        return _jsonl_rows(source)
    return _csv_rows(source)


def _csv_rows(source: TableSource) -> Iterator[Sequence[str]]:
    width = len(source.columns)
    with _open_text(source.path, source.encoding) as stream:
        reader = csv.reader(_after_separator_line(stream)[1], delimiter=source.delimiter)
        seen_header = False
        row_number = 0
        for row in reader:
            if not (row and (row[0] or any(row))):
                continue
            if not seen_header:
                seen_header = True
                continue
            row_number += 1
            if len(row) != width:
                if any(row[width:]) or len(row) < width:
                    raise ConfigError(
                        f"{source.path}: data row {row_number} has {len(row)} cells, the header has {width}; "
                        f"if a cell contains {source.delimiter!r} it must be quoted"
                    )
                row = row[:width]
            yield row


def _jsonl_columns(path: Path, encoding: str) -> tuple[str, ...]:
    with _open_text(path, encoding) as stream:
        line = next(line for line in stream if line.strip())
    return tuple(_json_object(line, path, 1))


def _jsonl_rows(source: TableSource) -> Iterator[Sequence[str]]:
    with _open_text(source.path, source.encoding) as stream:
        for row_number, line in enumerate((line for line in stream if line.strip()), start=1):
            record = _json_object(line, source.path, row_number)
            yield [_cell(record.get(name)) for name in source.columns]


def _json_object(line: str, path: Path, row_number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ConfigError(f"{path}: line {row_number} is not a JSON object")
    return record


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


def _parquet_file(path: Path) -> Any:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable Parquet file: {error}") from None


def _parquet_rows(source: TableSource) -> Iterator[Sequence[str]]:
    for batch in _parquet_file(source.path).iter_batches(CHUNK_ROWS):
        columns = [[_cell(value) for value in column.to_pylist()] for column in batch.columns]
        yield from zip(*columns, strict=True)
