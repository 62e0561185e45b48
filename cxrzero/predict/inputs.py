"""What stands for all that a run read: one SHA-256 over the pictures of its rows, so that an audit can ask again.

Each row adds a line, in the order of the table: the 16 hexadecimal digits of its picture's digest
(`cxrzero.pipeline.decode_file.digest_of`), or nothing where there is no picture, because the file could not be read or
holds none. The digest is of the upright pixels before any model sees them; it is there anyhow, also of films that the
cache knows, so no file is read for it. Under --pseudonymise each line is that digest's keyed one, so that nobody
without the key can test whether a film is among them. `merge` makes the same of the shards' logs, which have these
lines.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cxrzero.archive.archives import Archives
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.pipeline.decode_file import items_of
from cxrzero.pipeline.items import Frame, Item
from cxrzero.sources import check_paths, find_images
from cxrzero.sources.reader import Reader
from cxrzero.tables.pseudonym import Pseudonymiser, load_key


class Inputs:
    """The digest, as rows come."""

    def __init__(self) -> None:
        self._rows = self._pictures = 0
        self._sha256 = hashlib.sha256()

    def add(self, picture: str) -> None:
        """Take a row's line, see `picture_line`."""
        self._rows += 1
        self._pictures += bool(picture)
        self._sha256.update(picture.encode("ascii") + b"\n")

    def record(self) -> dict[str, Any]:
        """What the run record says of the inputs."""
        return {"rows": self._rows, "pictures": self._pictures, "sha256": self._sha256.hexdigest()}


def picture_line(item: Item, pseudonymiser: Pseudonymiser | None = None) -> str:
    """What stands for a row's picture; empty where it has none."""
    if not isinstance(item, Frame):
        return ""
    digest = item.digest.to_bytes(8, "big")
    return pseudonymiser.content(digest) if pseudonymiser else digest.hex()


def inputs_digest(
    paths: Sequence[str | os.PathLike[str]],
    options: DecodeOptions | None = None,
    key_file: Path | None = None,
    archives: Archives | None = None,
) -> dict[str, Any]:
    """Read films again and make what `inputs` of a run's record was made of; no model is needed.

    Args:
        paths: as they were given to `predict`.
        options: how the films were decoded: the record's `options` have `invert`, and `fast_decode` is `fast_side`.
        key_file: of a run with --pseudonymise its key.
        archives: from which addresses are read.

    Raises:
        NoInputError: a path does not exist.
        ConfigError: the key cannot be read.
    """
    given = [os.fspath(path) for path in paths]
    check_paths(given, archives)
    pseudonymiser = Pseudonymiser(load_key(key_file, make=False)[0]) if key_file else None
    inputs = Inputs()
    read = partial(Reader(archives).decode, options=options)
    for ref in find_images(given, archives=archives):
        for item in items_of(ref, read, lambda *_: ([], []), lambda _: None):
            inputs.add(picture_line(item, pseudonymiser))
    return inputs.record()
