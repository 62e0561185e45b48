"""What the run of a shard or a slice knows about the whole walk: where its rows belong, and which pictures it saw.

`<stem>.shard` has a line for each row of the table, `<position of its file in the whole walk> <digest of its picture>`
(no digest where there is no picture). From it the shards' rows are put in order again, and pictures that were seen in
an earlier row of another shard are found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cxrzero.errors import RunError
from cxrzero.files import WholeFile, cannot_write
from cxrzero.pipeline.items import Item
from cxrzero.predict.shard import Shard, Slice
from cxrzero.sources import ImageRef
from cxrzero.tables.pseudonym import Pseudonymiser


def shardlog_path(out: str) -> Path:
    """`<stem>.shard` beside the table `out`."""
    path = Path(out)
    return path.with_name(path.stem + ".shard")


class Walk:
    """What stands for all paths of a walk in their order.

    Attributes:
        found: how many there were so far.
    """

    def __init__(self) -> None:
        self.found = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, path: str) -> None:
        name = os.fsencode(path)
        self._hash.update(len(name).to_bytes(8, "big") + name)
        self.found += 1

    def digest(self) -> bytes:
        return self._hash.digest()


class ShardLog:
    """Picks a part's files out of the walk, and notes each row; the file appears under its name when complete.

    Args:
        out: path of the table.
        part: which part of the walk is read.
        pseudonymiser: keys the digests, so that nobody without the key can test whether a picture is among them.

    Entering it raises OutputError where the place cannot be written. Left early it stays in `<stem>.shard.partial`.
    """

    def __init__(self, out: str, part: Shard | Slice, pseudonymiser: Pseudonymiser | None = None) -> None:
        self.path = shardlog_path(out)
        self._part = part
        self._pseudonymiser = pseudonymiser
        self._taken = 0
        self._walk = Walk()

    def take(self, walked: Iterable[ImageRef]) -> Iterator[ImageRef]:
        """The files of this part, each with its position in the whole walk.

        Args:
            walked: the whole walk; a slice has its files already, and needs none.
        """
        if isinstance(self._part, Slice):
            self._taken = self._part.files
            yield from self._part.refs
            return
        for position, ref in enumerate(walked):
            self._walk.add(ref.path)
            if ref.path in self._part:
                self._taken += 1
                yield ref._replace(position=position)

    def note(self, item: Item, picture: str) -> None:
        """Note the row that is made of `item`, see `cxrzero.predict.inputs.picture_line`.

        Raises:
            OutputError: the disk is full or went away.
        """
        try:
            self._whole.file.write(f"{item.ref.position} {picture}\n".encode("ascii"))
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def commit(self) -> None:
        """Give the complete log its name."""
        try:
            self._whole.commit()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def record(self) -> dict[str, Any]:
        """What the run record says, once the walk is over; `walk` stands for all paths in their order."""
        part = self._part
        found, walk = (part.found, part.walk) if isinstance(part, Slice) else (self._walk.found, self._walk.digest())
        return {
            "index": part.index,
            "count": part.count,
            "files": self._taken,
            "files_found": found,
            "walk": self._pseudonymiser.content(walk) if self._pseudonymiser else walk.hex(),
        }

    def __enter__(self) -> Self:
        self._whole = WholeFile(self.path, keep=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole.close()


def read_shardlog(path: Path) -> Iterator[tuple[int, str]]:
    """(position of the file, digest or "") of each row.

    Raises:
        RunError: it cannot be read or is damaged.
    """
    try:
        with path.open(encoding="ascii", newline="\n") as file:
            for line in file:
                position, space, digest = line.rstrip("\n").partition(" ")
                if not space or not position.isdigit():
                    raise RunError(f"{path} is damaged; run that shard again")
                yield int(position), digest
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; it is kept beside a shard's table") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged; run that shard again") from error
