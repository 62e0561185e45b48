"""A CSV file with the columns image,text or image,report."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from cxrzero.errors import UsageError
from cxrzero.train.data.layouts.record import Record, Source
from cxrzero.train.data.layouts.reportfile import read_report

OPTIONAL = ("patient_id", "study_id", "split", "group", "source", "weight", "truth")
SPLITS = ("train", "val")
LONGEST_PATH = 1024
REPORT_SUFFIXES = (".txt", ".text", ".rpt", ".report")


def read_table(source: Source) -> None:
    """Fill `source.records`: an image may have any number of rows.

    A `report` is the report's text, or the path of a text file with it (relative to the CSV).

    Raises:
        UsageError: not a UTF-8 CSV file, a column is missing, or a value is wrong.
    """
    reports: dict[str, str | None] = {}
    csv.field_size_limit(1 << 24)
    for line, row in _rows(source.path):
        where = f"{source.path}, line {line}"
        name, text, report = row["image"], row.get("text"), row.get("report")
        if not name:
            raise UsageError(f"{where}: image must not be empty")
        split = row.get("split", "")
        if split and split not in SPLITS:
            raise UsageError(f"{where}: split must be one of {', '.join(SPLITS)}, not {split!r}")
        if report is not None and _is_path(report):
            if report not in reports:
                reports[report] = read_report(source.path.parent / report, source)
            report = reports[report]
            if report is None:
                continue
        source.records.append(
            Record(
                image=name,
                path=source.images / name,
                text=text,
                report=report,
                where=where,
                patient=row.get("patient_id", ""),
                study=row.get("study_id", ""),
                split=split,
                group=row.get("group", ""),
                source=row.get("source", ""),
                weight=_number(row.get("weight") or "1", "weight", math.inf, where),
                truth=_number(row.get("truth") or "1", "truth", 1.0, where),
            )
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, column → value); equal values are one string, since a table may say a text of every image."""
    strings: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            known = _known(path, list(reader.fieldnames or []))
            for row in reader:
                values = ((row[column] or "").strip() for column in known)
                yield (
                    reader.line_num,
                    {column: strings.setdefault(value, value) for column, value in zip(known, values, strict=True)},
                )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is not a UTF-8 CSV file ({error}); save it as UTF-8, in Excel as 'CSV UTF-8'"
        ) from error


def _known(path: Path, columns: list[str]) -> list[str]:
    said = [column for column in ("text", "report") if column in columns]
    missing = [column for column in ("image",) if column not in columns] + ([] if said else ["text (or report)"])
    if missing:
        found = ", ".join(columns) or "nothing"
        raise UsageError(f"{path} lacks the column {' and '.join(missing)}; its first line has: {found}")
    if len(said) == 2:
        raise UsageError(f"{path} has both a column text and a column report; leave one out")
    repeated = [column for column in ("image", *said, *OPTIONAL) if columns.count(column) > 1]
    if repeated:
        raise UsageError(f"{path} has the column {repeated[0]} twice")
    return ["image", *said, *(column for column in OPTIONAL if column in columns)]


def _is_path(report: str) -> bool:
    """One short line that ends like the name of a text file."""
    return len(report) <= LONGEST_PATH and "\n" not in report and report.lower().endswith(REPORT_SUFFIXES)


def _number(value: str, column: str, most: float, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= most or number == math.inf:
        range_ = "greater than 0" if most == math.inf else f"greater than 0 and at most {most:g}"
        raise UsageError(f"{where}: {column} must be a number {range_}, not {value!r}")
    return number
