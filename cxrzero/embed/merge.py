"""Join the files of `embed --shard K/N` into the file that one run over everything writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.embeddings.files import check_suffix, complaints, open_embeddings, writing
from cxrzero.errors import UsageError
from cxrzero.files import check_file, sha256_of, write_json
from cxrzero.maths import Float32s
from cxrzero.predict.inputs import Inputs
from cxrzero.predict.manifest import manifest_path
from cxrzero.predict.merge import Part, check_complete, check_one_run, in_order, merged_record, read_part
from cxrzero.prediction import Prediction

ROWS_AT_ONCE = 1024

# A row, and its embedding if it has one; and that behind its position in the whole walk and its picture's digest.
Film = tuple[Prediction, Float32s | None]
Row = tuple[int, str, Film]


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
    check_one_run(parts)
    parts.sort(key=lambda part: int(part.shard["index"]))
    origin = open_embeddings(parts[0].path).origin
    seen: set[str] = set()
    inputs = Inputs()
    with writing(out, origin, suffix) as writer:
        some: list[Prediction] = []
        vectors: list[Float32s] = [np.zeros((0, origin.embed_dim), np.float32)]
        for _, digest, (row, vector) in in_order(parts, _rows):
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


def _rows(part: Part) -> Iterator[Row]:
    return part.logged(_films(part.path))


def _films(path: Path) -> Iterator[Film]:
    with complaints(path):
        for rows, image_embeds in open_embeddings(path).blocks():
            vectors = iter(image_embeds)
            yield from ((row, next(vectors) if row.status == "ok" else None) for row in rows)
