"""Join the tables of `predict --shard K/N` into the table that one run over everything writes, byte for byte.

Nothing is held but one row of each part and the digests of the pictures seen: a run flags a picture that it saw before,
and a shard cannot know what the others saw, so that flag is completed here.
"""

from __future__ import annotations

import csv
import heapq
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cxrzero.choices import Aggregate
from cxrzero.display.counts import counted
from cxrzero.errors import RunError, UsageError
from cxrzero.files import ADDRESS, is_database, sha256_of, write_json
from cxrzero.options import carried_out
from cxrzero.predict.inputs import Inputs
from cxrzero.predict.manifest import MANIFEST_SCHEMA_VERSION, manifest_path, studies_path
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.shardlog import read_shardlog, shardlog_path
from cxrzero.predict.tabulate import studies_beside
from cxrzero.tables.table import STDOUT, Table, check_output

# What must be equal for the rows to be those of one run; Python's own version decides nothing.
SAME = (
    "cxrzero",
    "versions",
    "backend",
    "device",
    "precision",
    "models",
    "preprocess",
    "scoring",
    "prompts",
    "calibration",
    "options",
)
# What the merged record keeps of each part's.
OF_PARTS = ("gpu", "command", "started", "ended", "inputs", "table_sha256")
SUMMED = {"counts": ("ok", "failed", "skipped"), "cache": ("cached", "embedded")}

Row = tuple[int, str, list[str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """A shard's table and its record."""

    path: Path
    record: Mapping[str, Any]

    @property
    def shard(self) -> Mapping[str, Any]:
        shard: Mapping[str, Any] = self.record["shard"]
        return shard

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """(position of the file in the whole walk, digest of the picture, cells) of each row.

        Raises:
            RunError: table, log and record do not have the same rows.
        """
        cells = read_table(self.path)
        next(cells, None)
        for row in self.logged(cells):
            if len(row[2]) != len(columns):
                raise _damaged(self.path)
            yield row

    def logged(self, rows: Iterable[T]) -> Iterator[tuple[int, str, T]]:
        """Rows, whatever one is, each behind the position of its file in the whole walk and its picture's digest.

        Raises:
            RunError: rows, log and record do not fit together.
        """
        count = 0
        log = read_shardlog(shardlog_path(str(self.path)))
        for row in rows:
            position, digest = next(log, (None, ""))
            if position is None:
                raise _damaged(self.path)
            count += 1
            yield position, digest, row
        if next(log, None) is not None or count != sum(self.record["counts"][name] for name in SUMMED["counts"]):
            raise _damaged(self.path)


def merge(
    paths: Sequence[Path], out: Path, *, overwrite: bool = False, studies: Aggregate | None = None
) -> dict[str, Any]:
    """Write `out` and its record from the tables of all shards; standard output ("-") gets the table alone.

    Args:
        studies: how to join the images of a study, to write `<stem>.studies.csv`, too.

    Returns:
        The record of the merged run (docs/predict.md).

    Raises:
        UsageError: the parts are not all the shards of one run; nothing was written.
        OutputExistsError: `out` exists and overwrite is false.
        OutputError: `out` cannot be written.
        RunError: a part is damaged; `out` does not appear.
    """
    check_output(str(out), overwrite=overwrite)
    if studies:
        check_output(str(studies_path(str(out))), overwrite=overwrite)
    if out.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"--out {out} is one of the parts")
    parts = [read_part(path) for path in paths]
    check_complete(parts)
    columns = check_alike(parts)
    parts.sort(key=lambda part: int(part.shard["index"]))
    flags, status = columns.index("flags"), columns.index("status")
    seen: set[str] = set()
    inputs = Inputs()
    # Cells are written as the shards wrote them: texts are safe for spreadsheets already, and −0.1 is no text.
    with Table(str(out), dict.fromkeys(columns, object), "csv", overwrite=overwrite) as table:
        for _, digest, row in in_order(parts, lambda part: part.rows(columns)):
            inputs.add(digest)
            if digest in seen:
                row[flags] = ";".join(sorted({*filter(None, row[flags].split(";")), "duplicate"}))
            elif digest and row[status] == "ok":  # of equal pictures, the first that is scored stands for all
                seen.add(digest)
            table.write(row)
        table.commit()
    record = {**merged_record(parts, out), "inputs": inputs.record(), "table_sha256": table.sha256}
    if studies:
        record["options"] |= {"by": "study", "study_aggregate": studies}
        record |= studies_beside(str(out), studies, overwrite)
    if str(out) != STDOUT:
        write_json(manifest_path(str(out)), record)
    return record


def read_part(path: Path) -> Part:
    """A shard's table with its record.

    Raises:
        UsageError: no record, the record of something else than a shard, or a table that was changed since.
    """
    source = manifest_path(str(path))
    if is_database(path):
        raise UsageError(
            "merge joins shards, and this is a database, which joins what is written to it; its table is written by "
            "cxrzero table DATABASE --out predictions.csv"
        )
    if not path.is_file():
        if ADDRESS.match(str(path)):
            raise UsageError("merge reads the tables of shards from files: copy them here first, and give the copies")
        raise UsageError(f"{path} does not exist")
    try:
        record = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} has no {source.name} beside it; was that run cut short?") from error
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{source} is not the record of a run: not valid JSON") from error
    if not isinstance(record, dict) or record.get("schema_version") != MANIFEST_SCHEMA_VERSION:
        raise UsageError(f"{source} is not the record of a run that this cxrzero can read")
    if not isinstance(record.get("shard"), dict):
        raise UsageError(f"{path} is not the table of a shard (predict --shard K/N)")
    missing = [f"{key}.{name}" for key, names in _NEEDED.items() for name in names if name not in record.get(key, ())]
    missing += [key for key in SAME if key not in record]
    if missing:
        raise UsageError(f"{source} is not the whole record of a shard: {', '.join(missing)} missing")
    if record.get("table_sha256") not in (None, _sha256(path)):
        raise UsageError(f"{path} is not the table that its .run.json was written for; run that shard again")
    return Part(path, record)


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


_NEEDED = {**SUMMED, "shard": ("index", "count", "files", "files_found", "walk"), "seconds": ("wall",)}


def check_complete(parts: Sequence[Part]) -> None:
    """Check that every shard is there once.

    Raises:
        UsageError: naming the shards that are missing or there twice.
    """
    first = parts[0]
    count = first.shard["count"]
    found: dict[int, Path] = {}
    for part in parts:
        if part.shard["count"] != count:
            raise UsageError(f"{first.path} is one of {count} shards, {part.path} one of {part.shard['count']}")
        other = found.setdefault(part.shard["index"], part.path)
        if other is not part.path:
            raise UsageError(f"shard {part.shard['index']}/{count} is there twice: {other} and {part.path}")
    if missing := [f"{index}/{count}" for index in range(1, count + 1) if index not in found]:
        raise UsageError(
            f"{counted(len(missing), f'of {count} shards is', f'of {count} shards are')} missing: {', '.join(missing)}"
        )


def check_alike(parts: Sequence[Part]) -> list[str]:
    """All tables made by the same command from the same files; returns the columns.

    Raises:
        UsageError: naming what differs and in which parts.
    """
    check_one_run(parts)
    first = parts[0]
    columns = next(read_table(first.path), [])
    for part in parts[1:]:
        if next(read_table(part.path), []) != columns:
            raise UsageError(f"{first.path} and {part.path} have different columns")
    if "flags" not in columns:
        raise UsageError(f"{first.path} is not a prediction table: it has no column flags")
    return columns


def check_one_run(parts: Sequence[Part]) -> None:
    """By their records all made by the same command from the same files, whatever the parts hold.

    Raises:
        UsageError: naming what differs and in which parts.
    """
    first = parts[0]
    for part in parts[1:]:
        for key in ("files_found", "walk"):
            if part.shard[key] != first.shard[key]:
                raise UsageError(
                    f"{first.path} and {part.path} did not find the same files ({first.shard['files_found']:,} and "
                    f"{part.shard['files_found']:,}), or made pseudonyms with different keys; run them again alike"
                )
        if what := difference(first.record, part.record):
            raise UsageError(f"{first.path} and {part.path} differ in {what}")


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What two records of one run must have in common and have not, such as "versions: numpy"; else nothing."""
    for key in SAME:
        one, other = _decisive(ours, key), _decisive(theirs, key)
        if one != other:
            return _difference(key, one, other)
    return ""


def merged_record(parts: Sequence[Part], out: Path) -> dict[str, Any]:
    """The first shard's record with the counts and seconds of all; every walk counts the same `ignored_files`."""
    records = [part.record for part in parts]
    merged = {**records[0], "shard": None}
    for key, names in SUMMED.items():
        merged[key] = {**records[0][key], **{name: sum(record[key][name] for record in records) for name in names}}
    merged["cache"]["hashed"] = sum(record["cache"].get("hashed", 0) for record in records)
    merged["cache"]["notices"] = sorted({notice for record in records for notice in record["cache"].get("notices", ())})
    on_gpu = [record["gpu_decode"] for record in records if isinstance(record.get("gpu_decode"), dict)]
    merged["gpu_decode"] = {name: sum(part.get(name, 0) for part in on_gpu) for name in on_gpu[0]} if on_gpu else None
    merged["seconds"] = {
        leg: round(sum(record["seconds"].get(leg, 0.0) for record in records), 3) for leg in records[0]["seconds"]
    }
    merged["options"] = {
        name: value if all(record["options"].get(name) == value for record in records) else None
        for name, value in records[0]["options"].items()
    }
    merged["gpu"] = records[0].get("gpu") if len({record.get("gpu") for record in records}) == 1 else None
    for key, first_or_last in (("started", min), ("ended", max)):  # equal offsets, so texts have the order of times
        merged[key] = first_or_last((str(record[key]) for record in records if key in record), default=None)
    merged["command"] = shlex.join(["cxrzero", "merge", *(part.path.name for part in parts), "--out", out.name])
    merged["merged_from"] = [
        {"table": part.path.name, **{key: part.record.get(key) for key in OF_PARTS}, **part.shard} for part in parts
    ]
    return merged


def read_table(path: Path) -> Iterator[list[str]]:
    """The cells of each line, the heading first.

    Raises:
        RunError: it cannot be read as a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file, strict=True)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise _damaged(path) from error


def in_order(
    parts: Sequence[Part], rows: Callable[[Part], Iterator[tuple[int, str, T]]]
) -> Iterator[tuple[int, str, T]]:
    """All rows in the order of the walk; no file may be missing and none in two parts.

    Args:
        rows: of a part, as `Part.logged` gives them.

    Raises:
        RunError: the parts do not cover the walk.
    """
    expected = 0
    for row in heapq.merge(*map(rows, parts), key=lambda row: row[0]):
        if row[0] not in (expected - 1, expected):
            raise RunError(f"the shards do not cover file {expected:,} of the walk; run them again")
        expected = row[0] + 1
        yield row
    if expected != parts[0].shard["files_found"]:
        raise RunError(f"the shards cover {expected:,} of {parts[0].shard['files_found']:,} files; run them again")


def _decisive(record: Mapping[str, Any], key: str) -> Any:
    value = record[key]
    if key == "options":
        free = carried_out(PredictOptions)  # the merged record has null where the shards differ
        return {name: option for name, option in value.items() if name not in free}
    if key == "versions":
        return {name: version for name, version in value.items() if name != "python"}
    return value


def _difference(key: str, ours: Any, theirs: Any) -> str:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        return f"{key}: {', '.join(names)}"
    return key


def _damaged(path: Path) -> RunError:
    return RunError(f"{path}, its .shard and its .run.json do not fit together; run that shard again")
