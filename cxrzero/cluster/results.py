"""What tasks leave: for each slice a folder `part-0001/` with table, log and record, as `--shard` writes them.

The folder gets its name when all in it is on the disk. Of two tries of a slice the first that is ready counts.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cxrzero.cluster.engine import Task
from cxrzero.errors import RunError, UsageError
from cxrzero.files import PARTIAL, cannot_write, make_private, write_whole
from cxrzero.predict.inputs import Inputs
from cxrzero.predict.manifest import manifest_path
from cxrzero.predict.merge import Part, read_part
from cxrzero.predict.shardlog import read_shardlog, shardlog_path

TABLE = "table.jsonl"
FILES = (TABLE, shardlog_path(TABLE).name, manifest_path(TABLE).name)


def part_folder(results: Path, number: int) -> Path:
    return results / f"part-{number:04d}"


@contextmanager
def new_part(results: Path, number: int) -> Iterator[Path]:
    """A folder for the result of a try, which gets its name at the end, if no other try had it first.

    Raises:
        WriteError: the disk is full or went away.
    """
    make_private(results)
    partial = results / f".part-{number:04d}.{socket.gethostname()}.{os.getpid()}{PARTIAL}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        make_private(partial)
        yield partial
        _rename(partial, part_folder(results, number))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def take(results: Path, number: int, files: Mapping[str, bytes]) -> None:
    """Keep a result that was sent.

    Raises:
        RunError: it is not what a task sends.
        WriteError: as above.
    """
    if sorted(files) != sorted(FILES):
        raise RunError(f"what came back for slice {number} is no result of a task")
    with new_part(results, number) as folder:
        for name in FILES:
            write_whole(folder / name, files[name])


def files_of(folder: Path) -> dict[str, bytes]:
    """A result, to be sent."""
    return {name: (folder / name).read_bytes() for name in FILES}


def read_result(results: Path, task: Task, walk: str) -> Part:
    """The result of a task, checked: whole, unchanged since it was written, and of this slice.

    Args:
        walk: digest of the walk, as records have it.

    Raises:
        RunError: it is not; the slice has to be done again.
    """
    table = part_folder(results, task.number) / TABLE
    try:
        part = read_part(table)
    except UsageError as error:  # not of the user's making
        raise RunError(str(error)) from error
    expected = {
        "index": task.number,
        "count": task.count,
        "files": task.films,
        "files_found": task.found,
        "walk": walk,
    }
    if part.shard != expected:
        is_other_key = part.shard == expected | {"walk": part.shard["walk"]}
        why = "of another walk, or made with another pseudonym key" if is_other_key else "of another slice"
        raise RunError(f"{table} is the result {why}")
    inputs, position = Inputs(), task.first - 1
    for at, digest in read_shardlog(shardlog_path(str(table))):
        if at not in (position, position + 1):
            raise RunError(f"{table} lacks film {position + 1:,} of the walk")
        position = at
        inputs.add(digest)
    if position != task.first + task.films - 1 or inputs.record() != part.record.get("inputs"):
        raise RunError(f"{table} and its log do not have the same films")
    return part


def _rename(partial: Path, path: Path) -> None:
    """Give the folder its name. One that is there already stays: no system puts a folder over one that is not empty."""
    try:
        partial.rename(path)
    except OSError as error:
        if not (path / FILES[-1]).exists():
            raise cannot_write(path, error) from error
