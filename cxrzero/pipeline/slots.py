"""Memory that decoding processes share with their parent: what a process puts there is not pickled and sent.

A pipe takes a frame in pieces, each copied into the system and out again. From here the parent copies it once.

The block is an `Arena` of `multiprocessing`, which hands it to processes as they start: on Linux a file in /dev/shm if
there is room (a container often has 64 MB in all), else, and on macOS, a temporary one; on Windows memory with a name.
Files are unlinked before they are used, so that nothing stays of a run that is killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from multiprocessing.heap import Arena
from typing import NamedTuple

import numpy as np

from cxrzero.pipeline.items import Input

# Of one block, at most: a window of CheXzero's fitted pictures (320 × 320 bytes) with 16 processes and calls of 256,
# and half of what a container often has.
MOST_BYTES = 2**25
# The same for a window of whole films (`cxrzero.pipeline.films`), if there is `has_room`.
MOST_FOR_FILMS = 2**29
SHARED_MEMORY = "/dev/shm"


class Place(NamedTuple):
    """Where an array is in the block."""

    start: int
    shape: tuple[int, ...]
    dtype: str


class Slots:
    """Slots of one size. The parent hands them out and takes them back; in between, one process writes to each.

    Without room for the block there are none.

    Args:
        count: how many, if the block's limit is enough for them.
        size: bytes of one.
        for_films: the larger limit holds.
    """

    def __init__(self, count: int, size: int, *, for_films: bool = False) -> None:
        most = MOST_FOR_FILMS if for_films else MOST_BYTES
        self._count = min(count, most // size) if size else 0
        self._size = size
        self._arena: Arena | None = None
        self._free: list[int] | None = None

    def take(self) -> int | None:
        """Hand out a slot; None where none is free."""
        if self._free is None:  # not before a file is opened
            self._arena = _reserved(self._count * self._size)
            self._free = list(range(self._count)) if self._arena else []
        return self._free.pop() if self._free else None

    def give_back(self, slot: int | None) -> None:
        if slot is not None and self._free is not None:
            self._free.append(slot)

    def put(self, slot: int, inputs: Sequence[Input | None]) -> list[Place | None] | None:
        """Write a frame's inputs, what models share once; None where the slot is too small for them."""
        places: dict[int, Place] = {}
        start, end = slot * self._size, (slot + 1) * self._size
        for each in inputs:
            if each is None or id(each) in places:
                continue
            if start + each.nbytes > end:
                return None
            places[id(each)] = Place(start, each.shape, each.dtype.str)
            self._at(places[id(each)])[...] = each
            start += each.nbytes
        return [None if each is None else places[id(each)] for each in inputs]

    def get(self, places: Sequence[Place | None]) -> list[Input | None]:
        """Copy out what was put there."""
        copies = {place: self._at(place).copy() for place in set(places) if place is not None}
        return [None if place is None else copies[place] for place in places]

    def close(self) -> None:
        """Let go of the block; processes that still have it keep theirs."""
        self._arena, self._free = None, []

    def _at(self, place: Place) -> Input:
        assert self._arena is not None, "only who was given a slot has a place"
        return np.ndarray(place.shape, place.dtype, self._arena.buffer, place.start)


def has_room(count: int, size: int) -> bool:
    """Whether so many slots for films, or as many as the limit allows, leave others as much shared memory."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):  # not on Linux
        return False
    return 2 * min(count * size, MOST_FOR_FILMS) <= found.f_bavail * found.f_frsize


def _reserved(size: int) -> Arena | None:
    """A block that is really there; None where the system has no room for it.

    A file is longer than what is stored of it until it is written. Whoever touched a part for which there is no room
    any more would be ended by the system (SIGBUS).
    """
    try:
        arena = Arena(size) if size else None
        if arena is not None and sys.platform != "win32":  # there, memory is granted when it is mapped
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(arena.fd, 0, size)
            else:
                with open(arena.fd, "wb", closefd=False) as file:
                    file.write(bytes(size))
    except OSError:
        return None
    return arena
