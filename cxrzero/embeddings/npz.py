"""Embeddings as NumPy's archive: `image_embeds` (N, D) float32, the fixed columns as texts, `origin` as JSON.

    numpy.load("films.npz")["image_embeds"]

All of it is in memory while it is written and read, so it has a limit; Parquet has none.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from cxrzero.embeddings.origin import Origin
from cxrzero.embeddings.rows import check_block, columns_of, rows_of
from cxrzero.errors import UsageError
from cxrzero.maths import Float32s
from cxrzero.prediction import FIXED_COLUMNS, Prediction

# 1,048,576 films of 512 numbers. What reads it must have as much memory.
MAX_BYTES = 2**31
# Of the texts: as many films with 2 kB of them each, which are four bytes a letter in NumPy.
MAX_TEXT_BYTES = 2**31
MAX_ORIGIN_BYTES = 2**20
NO_FRAME = 0  # of what could not be opened far enough to have frames, which are counted from 1
EMBEDS, ORIGIN = "image_embeds", "origin"
MEMBERS = (*FIXED_COLUMNS, EMBEDS, ORIGIN)
MAJOR_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpzWriter:
    """See `cxrzero.embeddings.files.Writer`; writes when it is closed."""

    def __init__(self, file: BinaryIO, origin: Origin) -> None:
        self._file, self._origin = file, origin
        self._rows: list[Prediction] = []
        self._parts: list[Float32s] = []
        self._bytes = 0

    def write(self, rows: Sequence[Prediction], image_embeds: Float32s) -> None:
        self._bytes += image_embeds.nbytes
        if self._bytes > MAX_BYTES:
            raise UsageError(f"an .npz file has at most {MAX_BYTES:,} bytes of embeddings; write a .parquet file")
        self._rows += rows
        self._parts.append(np.array(image_embeds, "<f4"))

    def close(self) -> None:
        empty = np.zeros((0, self._origin.embed_dim), "<f4")
        columns: dict[str, Any] = dict(columns_of(self._rows))
        columns["frame"] = np.array([NO_FRAME if frame is None else frame for frame in columns["frame"]], "<i4")
        columns |= {
            name: np.array(cells, np.str_) for name, cells in columns.items() if isinstance(cells, list) and cells
        }
        columns |= {name: np.zeros(0, "<U1") for name, cells in columns.items() if isinstance(cells, list)}
        columns[EMBEDS] = np.concatenate([empty, *self._parts])
        columns[ORIGIN] = np.array(json.dumps(self._origin.as_dict()))
        if sum(array.nbytes for name, array in columns.items() if name != EMBEDS) > MAX_TEXT_BYTES:
            raise UsageError("the paths are too long for an .npz file of so many films; write a .parquet file")
        with zipfile.ZipFile(cast(BinaryIO, _Forward(self._file)), "w") as archive:
            for name, array in columns.items():
                kept = zipfile.ZIP_STORED if name == EMBEDS else zipfile.ZIP_DEFLATED  # which saves nothing of numbers
                with archive.open(_info(name, kept), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


class NpzReader:
    """See `cxrzero.embeddings.files.Reader`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._archive() as archive:
            origin = _read(archive, ORIGIN, MAX_ORIGIN_BYTES)
        if origin.ndim or origin.dtype.kind != "U":
            raise ValueError("it does not say what made its embeddings")
        self.origin = Origin.from_dict(json.loads(str(origin)))
        with self._archive() as archive, archive.open(f"{FIXED_COLUMNS[0]}.npy") as member:
            self.n_rows = _header(member)[0][0]

    def blocks(self) -> Iterator[tuple[list[Prediction], Float32s]]:
        with self._archive() as archive:
            columns: dict[str, Any] = {name: _read(archive, name, MAX_TEXT_BYTES).tolist() for name in FIXED_COLUMNS}
            image_embeds = _read(archive, EMBEDS, MAX_BYTES)
        columns["frame"] = [None if frame == NO_FRAME else frame for frame in columns["frame"]]
        rows = list(rows_of(columns))
        embeds = np.asarray(image_embeds, np.float32)
        check_block(rows, embeds, self.origin.embed_dim)
        yield rows, embeds

    def _archive(self) -> zipfile.ZipFile:
        try:
            archive = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from None
        missing = [name for name in MEMBERS if f"{name}.npy" not in archive.namelist()]
        if missing:
            archive.close()
            raise ValueError(f"it has no {missing[0]}")
        return archive


class _Forward:
    """A file that a .zip is written to from begin to end, as `cxrzero.files.WholeFile` only appends."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.flush = file.write, file.flush


def _info(name: str, kept: int) -> zipfile.ZipInfo:
    """Of a member; no time of day, so that equal embeddings are equal files."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = kept
    return info


def _read(archive: zipfile.ZipFile, name: str, most: int) -> npt.NDArray[Any]:
    """A member, whose size is checked before memory is taken for it."""
    try:
        with archive.open(f"{name}.npy") as member:
            shape, dtype = _header(member)
            size = int(np.prod([*shape, dtype.itemsize], dtype=object))
            if dtype.hasobject or dtype.kind not in "Uif" or size > min(most, archive.getinfo(f"{name}.npy").file_size):
                raise ValueError(f"its {name} is not what such a file has")
            data = member.read(size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, or packed in another way
        raise ValueError(str(error)) from None
    return np.frombuffer(data, dtype).reshape(shape)


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version not in MAJOR_VERSIONS:
        raise ValueError("it was written by another kind of program")
    shape, is_fortran, dtype = MAJOR_VERSIONS[version](member)
    if is_fortran and len(shape) > 1:
        raise ValueError("its arrays are in Fortran order")
    return shape, dtype
