"""Join the files of `embed --shard K/N` into the file that one run over everything writes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.embeddings.files import check_suffix, complaints, open_embeddings, writing
from cxrzero.errors import RunError, UsageError
from cxrzero.files import check_file, sha256_of, write_json
from cxrzero.maths import Float32s
from cxrzero.predict.inputs import Inputs
from cxrzero.predict.manifest import manifest_path
from cxrzero.predict.merge import SUMMED, Part, check_complete, difference, merged_record, read_part
from cxrzero.predict.shardlog import read_shardlog, shardlog_path
from cxrzero.prediction import Prediction

ROWS_AT_ONCE = 1024

# Position of its film in the whole walk, digest of its picture, the row, and its embedding if it has one.
Row = tuple[int, str, Prediction, Float32s | None]


def are_embeddings(paths: Sequence[Path]) -> bool:
    """Whether files of embeddings are to be joined; tables may be Parquet too, and are not joined as such."""
    return all(path.suffix.lower() in (".npz", ".parquet") for path in paths)


def merge(paths: Sequence[Path], out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write `out` and its record from the files of all shards.

    Returns:
        The record of the merged run.

    Raises:
        UsageError: the parts are not all the shards of one run; nothing was written.
        OutputExistsError: `out` exists and overwrite is false.
        OutputError: `out` cannot be written.
        RunError: a part is damaged; `out` does not appear.
    """
    suffix = check_suffix(out)
    for path in (out, manifest_path(str(out))):
        check_file(path, overwrite=overwrite)
    if out.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"--out {out} is one of the parts")
    parts = [read_part(path) for path in paths]
    check_complete(parts)
    _check_alike(parts)
    parts.sort(key=lambda part: int(part.shard["index"]))
    origin = open_embeddings(parts[0].path).origin
    seen: set[str] = set()
    inputs = Inputs()
    with writing(out, origin, suffix) as writer:
        some: list[Prediction] = []
        vectors: list[Float32s] = [np.zeros((0, origin.embed_dim), np.float32)]
        for _, digest, row, vector in _in_order(parts):
            inputs.add(digest)
            if digest in seen:
                row.flags |= {"duplicate"}
            elif digest and row.status == "ok":
                seen.add(digest)
            some.append(row)
            vectors += [] if vector is None else [vector[np.newaxis]]
            if len(some) == ROWS_AT_ONCE:
                writer.write(some, np.concatenate(vectors))
                some, vectors = [], vectors[:1]
        writer.write(some, np.concatenate(vectors))
    record = {**merged_record(parts, out), "inputs": inputs.record(), "table_sha256": sha256_of(out)}
    write_json(manifest_path(str(out)), record)
    return record


def _check_alike(parts: Sequence[Part]) -> None:
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


def _in_order(parts: Sequence[Part]) -> Iterator[Row]:
    expected = 0
    for row in heapq.merge(*map(_rows, parts), key=lambda row: row[0]):
        if row[0] not in (expected - 1, expected):
            raise RunError(f"the shards do not cover file {expected:,} of the walk; run them again")
        expected = row[0] + 1
        yield row
    if expected != parts[0].shard["files_found"]:
        raise RunError(f"the shards cover {expected:,} of {parts[0].shard['files_found']:,} files; run them again")


def _rows(part: Part) -> Iterator[Row]:
    log = read_shardlog(shardlog_path(str(part.path)))
    rows = 0
    with complaints(part.path):
        for block, image_embeds in open_embeddings(part.path).blocks():
            vectors = iter(image_embeds)
            for row in block:
                position, digest = next(log, (None, ""))
                if position is None:
                    raise _damaged(part.path)
                rows += 1
                yield position, digest, row, next(vectors) if row.status == "ok" else None
    if next(log, None) is not None or rows != sum(part.record["counts"][name] for name in SUMMED["counts"]):
        raise _damaged(part.path)


def _damaged(path: Path) -> RunError:
    return RunError(f"{path}, its .shard and its .run.json do not fit together; run that shard again")
