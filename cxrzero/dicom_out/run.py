"""`cxrzero dicom-sr`: from a prediction table to a folder of reports, and of maps where there are some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cxrzero.dicom_out.codes import Codes, read_codes
from cxrzero.dicom_out.films import DIFFERS, Made, films_of
from cxrzero.dicom_out.mapped import make_maps, open_heatmaps
from cxrzero.dicom_out.objects import Maker
from cxrzero.dicom_out.options import DicomSrOptions
from cxrzero.dicom_out.report import report_of
from cxrzero.dicom_out.source import SourceFilm
from cxrzero.dicom_out.table import PredictionTable, open_predictions
from cxrzero.dicom_out.write import check_reports_folder, write_report
from cxrzero.errors import ConfigError, CxrzeroError, OutputExistsError, UsageError
from cxrzero.files import sha256_of
from cxrzero.pipeline.decode_file import unforeseen
from cxrzero.sources.reader import Reader
from cxrzero.tables.record import RunRecord, read_manifest

OnRow = Callable[[int, int], None]


def make_reports(options: DicomSrOptions, on_row: OnRow = lambda *_: None) -> Made:
    """Make the objects.

    Args:
        on_row: is told how many rows are done, of how many.

    Raises:
        UsageError: table, record, codes or folder are not usable.
        OutputError: the folder cannot be written.
    """
    check_reports_folder(options.out)
    table = open_predictions(options.table)
    record = _record(options.table, table.labels)
    codes = read_codes(options.codes) if options.codes else Codes()
    maps = open_heatmaps(options.heatmaps) if options.heatmaps else None
    made, reader = Made(), Reader()
    if _has_changed(options.table):
        made.notes.append(f"{options.table} has changed since its run; its record is taken for what it is now")
    for number, films in _studies(table, options, reader, made, on_row):
        if fault := _write(films, record, codes, number, options):
            for film in films:
                made.blame(film.row.path, fault)
        else:
            made.reports += 1
            made.films += len(films)
    if maps is not None:
        make_maps(options, maps, reader, record, codes, made)
    return made


def _write(films: Sequence[SourceFilm], record: RunRecord, codes: Codes, number: int, options: DicomSrOptions) -> str:
    """Make and write a report; why there is none, or "".

    Raises:
        OutputError: it cannot be written.
    """
    try:
        write_report(report_of(films, record, codes, number), options.out, overwrite=options.overwrite)
    except OutputExistsError:
        return DIFFERS
    except CxrzeroError:
        raise
    except Exception as error:  # as `cxrzero.pipeline.decode_file`: one strange file must not end the work
        return str(unforeseen(error))
    return ""


def _record(table: Path, labels: Sequence[str]) -> RunRecord:
    """The record of the run, which says what a report must say.

    Raises:
        UsageError: there is none, it is of another table, or the table has pseudonyms.
    """
    manifest = read_manifest(table)
    if manifest is None:
        raise ConfigError(
            f"there is no record of the run beside {table} ({table.stem}.run.json): a report must say which model and "
            "which prompts made the numbers, and when; keep the two files together"
        )
    record = RunRecord.of(manifest)
    if record.pseudonymised:
        raise UsageError(
            f"{table} has pseudonyms in the place of paths and UIDs, so no film is found; give the original table"
        )
    asked = {prompt.label for prompt in record.prompts[0]} if record.prompts else set()
    if unknown := [label for label in labels if label not in asked]:
        raise ConfigError(
            f"{table}: the record of the run does not know the label {unknown[0]!r}; is it another table's?"
        )
    Maker.of(record)  # raises what it lacks
    return record


def _has_changed(table: Path) -> bool:
    manifest = read_manifest(table) or {}
    return manifest.get("table_sha256") not in (None, sha256_of(table))


def _studies(
    table: PredictionTable, options: DicomSrOptions, reader: Reader, made: Made, on_row: OnRow
) -> Iterator[tuple[int, list[SourceFilm]]]:
    """Films that have a report together, with the report's number in its study."""
    numbers: Counter[str] = Counter()
    total, groups = table.groups(options.per)
    done = 0
    for rows in groups:
        if films := films_of(rows, options.images, reader, made):
            study = films[0].source.study
            if options.per == "image":
                numbers[study] += 1
            yield max(1, numbers[study]), films
        done += len(rows)
        on_row(done, total)
