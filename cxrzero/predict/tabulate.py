"""`cxrzero table`: a database of results → the table that `predict` would have written; any table → its studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero.choices import Aggregate, TableFormat
from cxrzero.database import is_address, open_database
from cxrzero.errors import LabelError, NoInputError, UsageError
from cxrzero.files import check_file, is_database, write_json
from cxrzero.predict.manifest import manifest_path, studies_path
from cxrzero.predict.table_options import TableOptions
from cxrzero.prediction import Prediction
from cxrzero.tables.finished import open_finished
from cxrzero.tables.rows import row_form
from cxrzero.tables.studies import STUDY_COLUMNS, Studies, StudySummary
from cxrzero.tables.table import STDOUT, Table, check_output

if TYPE_CHECKING:
    from cxrzero.database.select import Selection


# Keys of a record whose values state something of each label.
BY_LABEL = ("prompt_sources", "location")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        files: the table, and its record.
        rows: of the table.
        runs: of a database those that were read.
        studies: of --by study, what was joined.
    """

    files: tuple[str, ...]
    rows: int
    runs: tuple[int, ...] = ()
    studies: StudySummary | None = None


def tabulate(options: TableOptions) -> Written:
    """Write the table that is asked for.

    Raises:
        UsageError: options do not go together, or the runs of a database do not.
        DatabaseError: the database cannot be read.
        NoInputError, ConfigError: there is no such table, or it is none of predictions.
        OutputError: the table cannot be written.
    """
    if is_address(options.out):
        raise UsageError("--out of cxrzero table is a file: .csv, .jsonl or .parquet; predict --out takes a database")
    check_output(options.out, options.format, overwrite=options.overwrite)
    if not (is_address(options.source) or is_database(options.source)):
        return _studies_of_table(options)
    return _studies_of_database(options) if options.by == "study" else _table_of_database(options)


def _table_of_database(options: TableOptions) -> Written:
    from cxrzero.database.select import choose, rows_of

    record = None if options.out == STDOUT else manifest_path(options.out)
    if record:
        check_file(record, overwrite=options.overwrite)
    counts: Counter[str] = Counter()
    with open_database(options.source, must_exist=True) as database:
        selection = choose(database, options.run, options.model, options.labels)
        long = options.long or bool((selection.newest.record.get("options") or {}).get("long"))
        form = row_form(selection.labels, long=long, kinds=selection.kinds)
        with Table(options.out, form.columns, options.format, overwrite=options.overwrite) as table:
            for row in rows_of(database, selection):
                counts[row.status] += 1
                for cells in form.rows(row):
                    table.write(cells)
            table.commit()
    if record:
        write_json(record, exported_record(selection, counts, table.sha256))
    return Written((options.out, *([str(record)] if record else [])), counts.total(), selection.numbers)


def _studies_of_database(options: TableOptions) -> Written:
    from cxrzero.database.select import choose, rows_of

    if options.long:
        raise UsageError("--long has a row per image and label, --by study one per study; leave one out")
    with open_database(options.source, must_exist=True) as database:
        selection = choose(database, options.run, options.model, options.labels)
        rows = rows_of(database, selection)
        summary, _ = write_studies(
            rows, selection.labels, options.study_aggregate, options.out, options.format, options.overwrite
        )
    return Written((options.out,), summary.studies, selection.numbers, summary)


def exported_record(selection: Selection, counts: Mapping[str, int], table_sha256: str) -> dict[str, Any]:
    """The record of a table out of a database: that of the newest run, as far as it holds for all rows."""
    record, labels = selection.newest.record, selection.labels
    entries = {entry["label"]: entry for run in selection.runs for entry in run.record["prompts"]}
    by_label = {key: _by_label(selection, key, labels) for key in BY_LABEL if key in record}
    remarks: list[Any] = []
    for run in selection.runs:
        remarks += [each for each in run.record.get("remarks") or () if each["label"] in labels and each not in remarks]
    calibrations = [run.record["calibration"] for run in selection.runs if run.record.get("calibration")]
    fitted = {label: each for calibration in calibrations for label, each in calibration["labels"].items()}
    fitted = {label: fitted[label] for label in labels if label in fitted}
    several = len(selection.runs) > 1
    return {
        **record,
        "prompts": [entries[label] for label in labels],
        **by_label,
        "remarks": remarks,
        "calibration": calibrations[-1] | {"labels": fitted} if calibrations else None,
        "inputs": None if several else record.get("inputs"),
        "table_sha256": table_sha256,
        "studies_sha256": None,
        "shard": None,
        "counts": {
            **{status: counts.get(status, 0) for status in ("ok", "failed", "skipped")},
            "ignored_files": None if several else (record.get("counts") or {}).get("ignored_files"),
        },
        "from_runs": [
            {"run": run.number, **{key: run.record.get(key) for key in ("command", "started", "ended", "inputs")}}
            for run in selection.runs
        ],
    }


def write_studies(
    rows: Iterable[Prediction],
    labels: tuple[str, ...],
    aggregate: Aggregate,
    out: str,
    table_format: TableFormat | None,
    overwrite: bool,
) -> tuple[StudySummary, str]:
    """Write the table of studies of some rows; what was joined, and the table's SHA-256.

    Raises:
        LabelError: a label has the name of a column of the table.
        OutputError: it cannot be written.
    """
    if taken := sorted({*labels} & {*STUDY_COLUMNS}):
        raise LabelError(
            f"the label {taken[0]!r} has the name of a column of the study table; choose others by --labels"
        )
    studies = Studies(labels, aggregate)
    for row in rows:
        studies.add(row)
    with Table(out, studies.columns, table_format, overwrite=overwrite) as table:
        for study in studies.rows():
            table.write(list(study.values()))
        table.commit()
    return studies.summary(), table.sha256


def studies_beside(out: str, aggregate: Aggregate, overwrite: bool) -> dict[str, Any]:
    """Write `<stem>.studies.csv` beside a finished table; what its record says of it."""
    table = open_finished(Path(out))
    summary, sha256 = write_studies(table.rows(), table.labels, aggregate, str(studies_path(out)), "csv", overwrite)
    return {"studies": {**asdict(summary), "warnings": summary.warnings()}, "studies_sha256": sha256}


def _studies_of_table(options: TableOptions) -> Written:
    """--by study of a finished table."""
    source = Path(options.source)
    if options.by != "study":
        if not source.is_file():
            raise NoInputError(f"{source} does not exist")
        raise UsageError(
            f"{source} is no database; of a table cxrzero table makes that of its studies: give --by study"
        )
    if options.run is not None or options.model is not None or options.labels is not None or options.long:
        raise UsageError("--run, --model, --labels and --long choose from a database; leave them out for a table")
    if options.out != STDOUT and Path(options.out).resolve() == source.resolve():
        raise UsageError(f"--out {options.out} is the table that is read")
    table = open_finished(source)
    summary, _ = write_studies(
        table.rows(), table.labels, options.study_aggregate, options.out, options.format, options.overwrite
    )
    return Written((options.out,), summary.studies, studies=summary)


def _by_label(selection: Selection, key: str, labels: Sequence[str]) -> dict[str, Any]:
    """What the runs' records state of each label, that of the newest run first."""
    stated = {label: each for run in selection.runs for label, each in (run.record.get(key) or {}).items()}
    return {label: stated[label] for label in labels if label in stated}
