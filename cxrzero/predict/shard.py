"""Which part of the walk is a job's: a shard (`--shard K/N`) or a slice (`--engine`). Imports nothing heavy.

A file belongs to the shard that the hash of its path, as found, names. So the same command with 1/N … N/N covers every
file exactly once on any machine, without the jobs talking to each other. A .zip or .tar file is one shard's as a whole:
its members go by its own path. A slice is cut out of a walk that was made once, for all jobs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrzero.errors import ConfigError
from cxrzero.places.members import file_of

if TYPE_CHECKING:
    from cxrzero.sources import ImageRef

# Merging holds two files of every shard open, and 1,024 open files are what a process usually gets.
MAX_SHARDS = 400


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def __contains__(self, path: str) -> bool:
        """Whether the file at `path` is in this shard: 64 bits of BLAKE2b (RFC 7693) modulo the number of shards."""
        digest = hashlib.blake2b(os.fsencode(file_of(path)), digest_size=8, person=b"cxrzero.shard").digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1


@dataclass(frozen=True, slots=True)
class Slice:
    """Part `index` (from 1) of `count`: films that follow each other in a walk.

    Attributes:
        files: how many they are.
        refs: the films, each with its position in the walk; gone through once.
        found: films of the whole walk.
        walk: digest of the whole walk, see `cxrzero.predict.shardlog.Walk`.
    """

    index: int
    count: int
    files: int
    refs: Iterable[ImageRef]
    found: int
    walk: bytes


def parse_shard(text: str) -> Shard:
    """Read "3/16".

    Raises:
        ConfigError: not two whole numbers K/N with 1 ≤ K ≤ N ≤ 400.
    """
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if not match:
        raise ConfigError(f"--shard {text}: write K/N, for example 3/16")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.index <= shard.count:
        raise ConfigError(f"--shard {text}: K goes from 1 to N")
    if shard.count > MAX_SHARDS:
        raise ConfigError(f"--shard {text}: at most {MAX_SHARDS} shards")
    return shard
