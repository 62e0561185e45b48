"""Embeddings as Parquet: the fixed columns of the prediction table, and `embedding`, D float32, null of what has none.

It is written and read a row group at a time, so films may be any number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cxrzero.embeddings.origin import Origin
from cxrzero.embeddings.rows import check_block, columns_of, rows_of
from cxrzero.errors import MissingExtraError
from cxrzero.maths import Float32s
from cxrzero.prediction import FIXED_COLUMNS, FIXED_TYPES, Prediction

EMBEDDING = "embedding"
METADATA = b"cxrzero.embeddings"
# Numbers of a row group: 16 MB, which is what writer and reader hold.
GROUP_NUMBERS = 2**22
# Of a group of anybody's: the limit only keeps a hostile file out of memory.
MAX_GROUP_BYTES = 2**30


class ParquetWriter:
    """See `cxrzero.embeddings.files.Writer`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO, origin: Origin) -> None:
        self._arrow, parquet = _pyarrow()
        types = {str: self._arrow.string(), int: self._arrow.int32()}
        fields = [self._arrow.field(name, types[kind]) for name, kind in FIXED_TYPES.items()]
        self._vector = self._arrow.list_(self._arrow.float32(), origin.embed_dim)
        schema = self._arrow.schema([*fields, self._arrow.field(EMBEDDING, self._vector)])
        self._schema = schema.with_metadata({METADATA: json.dumps(origin.as_dict()).encode()})
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._embed_dim = origin.embed_dim
        self._most_rows = max(1, GROUP_NUMBERS // origin.embed_dim)
        self._rows: list[Prediction] = []
        self._parts: list[Float32s] = []

    def write(self, rows: Sequence[Prediction], image_embeds: Float32s) -> None:
        self._rows += rows
        self._parts.append(image_embeds)
        if len(self._rows) >= self._most_rows:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        rows, parts, self._rows, self._parts = self._rows, self._parts, [], []
        if not rows:
            return
        is_ok = np.array([row.status == "ok" for row in rows])
        vectors = np.zeros((len(rows), self._embed_dim), np.float32)
        vectors[is_ok] = np.concatenate(parts)
        numbers = self._arrow.array(vectors.reshape(-1))
        mask = self._arrow.array(~is_ok)
        columns: dict[str, Any] = dict(columns_of(rows))
        columns[EMBEDDING] = self._arrow.FixedSizeListArray.from_arrays(numbers, type=self._vector, mask=mask)
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))


class ParquetReader:
    """See `cxrzero.embeddings.files.Reader`."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = _pyarrow()
        self.path, self._file = path, parquet.ParquetFile(path)
        schema = self._file.schema_arrow
        found = (schema.metadata or {}).get(METADATA)
        if found is None:
            raise ValueError("it does not say what made its embeddings")
        self.origin = Origin.from_dict(json.loads(found))
        vector = arrow.list_(arrow.float32(), self.origin.embed_dim)
        if schema.names != [*FIXED_COLUMNS, EMBEDDING] or schema.field(EMBEDDING).type != vector:
            raise ValueError("its columns are not what such a file has")
        self.n_rows = int(self._file.metadata.num_rows)

    def blocks(self) -> Iterator[tuple[list[Prediction], Float32s]]:
        for number in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(number)
            numbers = group.num_rows * self.origin.embed_dim * 4
            if max(numbers, group.total_byte_size) > MAX_GROUP_BYTES:
                raise ValueError(f"its row group {number + 1} claims more than {MAX_GROUP_BYTES:,} bytes")
            table = self._file.read_row_group(number).combine_chunks()
            rows = list(rows_of({name: table.column(name).to_pylist() for name in FIXED_COLUMNS}))
            vectors = table.column(EMBEDDING).drop_null().combine_chunks()
            image_embeds = np.asarray(vectors.flatten(), np.float32).reshape(-1, self.origin.embed_dim)
            check_block(rows, image_embeds, self.origin.embed_dim)
            yield rows, image_embeds


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    return pyarrow, parquet
