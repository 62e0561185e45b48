"""Files of embeddings: written whole or not at all, read without running anything in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from cxrzero.embeddings import npz, parquet
from cxrzero.embeddings.origin import Origin
from cxrzero.errors import NoInputError, UsageError
from cxrzero.files import WholeFile, cannot_write, check_file
from cxrzero.maths import Float32s
from cxrzero.prediction import Prediction

SUFFIXES = (".npz", ".parquet")
ROWS_AT_ONCE = 4096


class Writer(Protocol):
    """Puts rows and embeddings into an open file, a block after the other."""

    def __init__(self, file: BinaryIO, origin: Origin) -> None: ...

    def write(self, rows: Sequence[Prediction], image_embeds: Float32s) -> None:
        """Append rows; image_embeds (n, D) are those of the n that are "ok"."""

    def close(self) -> None:
        """Write what is held back; the file stays open."""


class Reader(Protocol):
    """An open file of embeddings.

    Attributes:
        path: of it.
        n_rows: in it.
    """

    path: Path
    origin: Origin
    n_rows: int

    def blocks(self) -> Iterator[tuple[list[Prediction], Float32s]]:
        """All rows in order, some at once, with the embeddings of those that are "ok"."""


def check_suffix(path: Path) -> str:
    """ ".npz" or ".parquet". Raises UsageError: it is another one."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: embeddings are kept in .parquet or .npz files; name one")
    return suffix


def save(
    path: Path, suffix: str, rows: Sequence[Prediction], image_embeds: Float32s, origin: Origin, *, overwrite: bool
) -> None:
    """Write all rows, and the embeddings of those that are "ok"; see `cxrzero.Embeddings.save`."""
    if suffix not in SUFFIXES:
        check_suffix(path)
    check_file(path, overwrite=overwrite)
    with writing(path, origin, suffix) as writer:
        done = 0
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            n = sum(row.status == "ok" for row in some)
            writer.write(some, image_embeds[done : done + n])
            done += n


@contextmanager
def writing(path: Path, origin: Origin, suffix: str) -> Iterator[Writer]:
    """A file that has its name when the block ends without an error.

    Raises:
        MissingExtraError: pyarrow is not installed.
        UsageError: more than the format takes.
        OutputError: it cannot be written.
    """
    make: type[npz.NpzWriter] | type[parquet.ParquetWriter]
    make = npz.NpzWriter if suffix == ".npz" else parquet.ParquetWriter
    with WholeFile(path) as whole:
        try:
            writer = make(whole.file, origin)
            yield writer
            writer.close()
            whole.commit()
        except OSError as error:
            raise cannot_write(path, error) from error


def open_embeddings(path: Path) -> Reader:
    """Open a file, and read what made its embeddings.

    Raises:
        NoInputError: there is none, or it is no file of embeddings.
        MissingExtraError: pyarrow, which reads Parquet, is not installed.
    """
    suffix = check_suffix(path)
    if not path.is_file():
        raise NoInputError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    with complaints(path):
        return npz.NpzReader(path) if suffix == ".npz" else parquet.ParquetReader(path)


def load(path: Path) -> tuple[list[Prediction], Float32s, Origin]:
    """Rows, embeddings and what made them; see `cxrzero.Embeddings.load`."""
    reader = open_embeddings(path)
    rows: list[Prediction] = []
    parts: list[Float32s] = [np.zeros((0, reader.origin.embed_dim), np.float32)]
    with complaints(path):
        for some, image_embeds in reader.blocks():
            rows += some
            parts.append(image_embeds)
    return rows, np.concatenate(parts), reader.origin


@contextmanager
def complaints(path: Path) -> Iterator[None]:
    """What is wrong with a file, named."""
    try:
        yield
    except (ValueError, KeyError, OSError, EOFError, MemoryError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) and str(error) else type(error).__name__
        raise NoInputError(f"{path} is no whole file of embeddings: {reason}") from None
