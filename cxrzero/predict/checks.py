"""What options cannot mean, and films or outputs that cannot be used: refused before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from cxrzero.archive.archives import Archives
from cxrzero.database import check_database, is_address, parse_address
from cxrzero.dicom_out.write import check_reports_folder
from cxrzero.errors import NoInputError, UsageError
from cxrzero.pipeline.selection import parse_skip
from cxrzero.places.kind import kind_of_place
from cxrzero.predict.manifest import default_out
from cxrzero.predict.options import PredictOptions
from cxrzero.remote.objects import Objects
from cxrzero.sources import check_paths
from cxrzero.tables.table import STDOUT


def check_combinations(options: PredictOptions) -> None:
    """Raises a UsageError for options of films and of their embeddings that do not go together."""
    if options.cache_by != "path" and not options.cache:
        raise UsageError(f"--cache-by {options.cache_by} says how embeddings are kept, and --no-cache keeps none")
    if options.cache_large and not options.cache:
        raise UsageError("--cache-large says what is kept, and --no-cache keeps nothing; give one of them")
    if options.pseudonym_key and not options.pseudonymise:
        raise UsageError("--pseudonym-key without --pseudonymise would write real paths and UIDs; give both")


def check_films(options: PredictOptions, archives: Archives, objects: Objects) -> None:
    """Do what `check_paths` does; under --pseudonymise name a path by its place, for it may be a patient's."""
    for number, path in enumerate(options.paths, start=1):
        if not options.pseudonymise:
            break
        try:
            check_paths([path], archives, objects)
        except NoInputError as error:
            place = f"PATH number {number}"
            told = str(error).replace(path.removeprefix("@") or path, place).replace(f"list file {place}", place)
            raise NoInputError(f"{told} (its name is not shown under --pseudonymise)") from None
    check_paths(options.paths, archives, objects)
    given = {"--query": options.query, "--refetch": options.refetch, "--keep-files": options.keep_files}
    for flag in (flag for flag, value in given.items() if value and not archives):
        raise UsageError(f"{flag} is for an archive, and no address of one is given; see docs/archive.md")


def check_reports(options: PredictOptions, out: str) -> None:
    """Refuse --dicom-sr where reports could not be made of the table that is about to be written."""
    assert options.dicom_sr
    if options.pseudonymise:
        raise UsageError("--dicom-sr writes the patients' identity, which --pseudonymise takes out; give one of them")
    if options.shard is not None:
        raise UsageError("--dicom-sr needs all films of a study; merge the shards, then run cxrzero dicom-sr")
    if is_address(out):
        raise UsageError(
            f"--dicom-sr reads the run's own table, and a database holds those of other runs too; leave it out, and "
            f"afterwards: cxrzero table {parse_address(out)} --run latest --out predictions.csv, then cxrzero dicom-sr"
        )
    if kind_of_place(out) == "object":
        raise UsageError("--dicom-sr reads the table again: give --out a file, and copy it to the store afterwards")
    if out == STDOUT or options.long:
        raise UsageError("--dicom-sr reads the table and its record again: leave out --long and --out -")
    check_reports_folder(options.dicom_sr)


def check_into_database(options: PredictOptions, out: str) -> None:
    """Refuse what only files can be, and find out whether the database can be used.

    Raises:
        UsageError: an option does not go with a database, or its address is none.
        DatabaseError, MissingExtraError, OutputError: see `cxrzero.database.check_database`.
    """
    shown = parse_address(out)
    if options.overwrite:
        raise UsageError("--overwrite replaces a table, and a database grows: leave it out, or name another database")
    if options.format is not None:
        raise UsageError(f"--format is of files; a database has none, and cxrzero table {shown} writes any of them")
    if options.by == "study":
        raise UsageError(
            f"a database has its studies in the view by_study; leave --by study out, and afterwards write their table: "
            f"cxrzero table {shown} --by study --out predictions.studies.csv"
        )
    check_database(out)


def check_shard(options: PredictOptions, out: str) -> None:
    """Refuse what needs to see the other shards' files, or would write over their tables."""
    if options.shard is None:
        return
    if options.by == "study":
        raise UsageError(
            "--by study needs all files of a study, and --shard may part them; leave it out, and give it to cxrzero "
            "merge, which joins the shards"
        )
    if is_address(out):
        raise UsageError(
            "--shard writes a table that cxrzero merge joins; into a database several runs write without it, each of "
            "other folders"
        )
    if "duplicate" in parse_skip(options.skip):
        raise UsageError("--skip duplicate needs to see all files, and --shard sees a part; leave one out")
    if options.long or options.format not in (None, "csv"):
        raise UsageError("--shard writes wide CSV tables, which cxrzero merge joins; leave out --long and --format")
    if out == default_out(options) or Path(out).suffix.lower() != ".csv":
        example = f"part-{options.shard.index}-of-{options.shard.count}.csv"
        raise UsageError(f"--shard needs a table of its own that ends in .csv; give for example --out {example}")
