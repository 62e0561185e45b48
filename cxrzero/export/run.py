"""One `cxrzero export`: from a finished table to the files of another program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cxrzero.errors import NoInputError, OutputError, OutputExistsError, UsageError, exit_code
from cxrzero.export import fiftyone, label_studio
from cxrzero.export.options import LOCAL_FILES, ExportOptions
from cxrzero.export.pictures import LeftOut, Shown, drawn, own_files
from cxrzero.export.table import Table, open_predictions
from cxrzero.files import WholeFile, cannot_write, check_file, sha256_of, write_whole
from cxrzero.tables.record import RunRecord, read_manifest

DEFAULT_OUT = {"fiftyone": Path("labels.json"), "label-studio": Path("tasks.json")}
# Of a fingerprint so many digits are enough to tell models apart.
FINGERPRINT_DIGITS = 12


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes:
        films: that the files show.
        left_out: scored films that they do not show.
        not_scored: status → rows that the run did not score.
        notes: what there is to say beside that.
    """

    files: tuple[Path, ...]
    films: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    not_scored: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return exit_code(self.films, self.left_out.reasons.total())


def export(options: ExportOptions) -> Exported:
    """Write the files. The main one is there only when all else is.

    Raises:
        UsageError: table, record or options are not usable.
        NoInputError: no film of the table can be shown; nothing is written but pictures that could be drawn.
        OutputError: a file cannot be written.
    """
    out = options.out or DEFAULT_OUT[options.to]
    to_label_studio = options.to == "label-studio"
    if options.prefix is not None and not to_label_studio:
        raise UsageError("--prefix makes addresses for Label Studio; FiftyOne takes paths, see --images")
    if to_label_studio and out.suffix == ".xml":
        raise UsageError(f"--out {out} is for the tasks, which are JSON; the configuration beside them is .xml")
    exported = Exported((out, *([out.with_suffix(".xml")] if to_label_studio else [])))
    _check_outputs(options, exported.files)
    table = open_predictions(options.table, options.threshold)
    record, exported.notes = _record(options.table)
    pictures = _counted(_pictures(table, options, record, exported.left_out), exported)
    if to_label_studio:
        configuration = label_studio.configuration(table.labels)
        prefix = LOCAL_FILES if options.prefix is None else options.prefix
        lines = label_studio.lines_of(pictures, table.labels, model_of(record), prefix)
    else:
        lines = fiftyone.lines_of(pictures, table.labels, model_of(record))
    with WholeFile(out) as whole:
        try:
            for line in lines:
                whole.file.write(line.encode("ascii"))
            _check_films(exported, table)
            if to_label_studio:
                write_whole(exported.files[1], configuration)
            whole.commit()
        except OSError as error:
            raise cannot_write(out, error) from error
    exported.not_scored = table.not_scored
    return exported


def model_of(record: RunRecord) -> str:
    """Name and fingerprint of what made the numbers; "" of a table without a record."""
    return " + ".join(f"{name} {fingerprint[:FINGERPRINT_DIGITS]}" for name, fingerprint in record.models)


def _check_outputs(options: ExportOptions, files: Iterable[Path]) -> None:
    """Find out whether the files could be written, before anything is read."""
    for file in files:
        check_file(file, overwrite=options.overwrite)
        if file.resolve() == options.table.resolve():
            raise UsageError(f"--out {file} is the table that is read")
    if (folder := options.png) is None:
        return
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder for the pictures")
    if folder.is_dir() and any(folder.iterdir()) and not options.overwrite:
        raise OutputExistsError(f"{folder} is not empty; name another folder, or give --overwrite to write into it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _record(table: Path) -> tuple[RunRecord, list[str]]:
    """The record of the run, and what is to be said of it.

    Raises:
        ConfigError: it is none.
        UsageError: the table has pseudonyms, so that no film is found.
    """
    manifest = read_manifest(table)
    if manifest is None:
        return RunRecord(), [f"there is no record of the run beside {table}, so the files do not name the model"]
    record = RunRecord.of(manifest)
    if record.pseudonymised:
        raise UsageError(
            f"{table} has pseudonyms in the place of paths and UIDs, so no film is found; give the original table"
        )
    if manifest.get("table_sha256") not in (None, sha256_of(table)):
        return record, [f"{table} has changed since its run; its record is taken for what it is now"]
    return record, []


def _pictures(table: Table, options: ExportOptions, record: RunRecord, left_out: LeftOut) -> Iterator[Shown]:
    if options.png is not None:
        return drawn(table.films(), options.images, record.decode_options, options.png, left_out)
    to_label_studio = options.to == "label-studio"
    return own_files(table.films(), options.images, addresses=to_label_studio, left_out=left_out)


def _counted(pictures: Iterable[Shown], exported: Exported) -> Iterator[Shown]:
    for each in pictures:
        exported.films += 1
        yield each


def _check_films(exported: Exported, table: Table) -> None:
    if exported.films:
        return
    if exported.left_out.reasons:
        why, count = exported.left_out.reasons.most_common(1)[0]
        raise NoInputError(f"{table.source.path}: none of its films can be shown; of {count}, {why}")
    raise NoInputError(f"{table.source.path}: no film of it was scored")
