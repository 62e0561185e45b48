"""A plan is made: the films are written down while they are found, then cut into slices.

Nothing of the walk is held in memory but where archives begin and end, so two million films take no more than two.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from cxrzero.cluster.plan import PLAN, PlanFolder, Sliced, SliceEntry, slice_file
from cxrzero.cluster.slices import line_of
from cxrzero.files import WholeFile, cannot_write, write_json
from cxrzero.places.kind import kind_of_place
from cxrzero.places.members import parse_member
from cxrzero.predict.shardlog import Walk
from cxrzero.sources import ImageRef

WALK = "walk.jsonl"
BUFFER_BYTES = 2**20


class Group(NamedTuple):
    """Films of one container, which follow each other in the walk."""

    first: int
    films: int


class Walked(NamedTuple):
    """A walk that is written down.

    Attributes:
        file: with a line for each film.
        films: how many.
        digest: of the paths (`cxrzero.predict.shardlog.Walk`).
        groups: where containers begin, and how many films of each there are.
    """

    file: Path
    films: int
    digest: bytes
    groups: Sequence[Group]


def write_walk(folder: PlanFolder, refs: Iterable[ImageRef]) -> Walked:
    """Write the films down, one by one.

    Raises:
        WriteError: the disk is full or went away.
    """
    file = folder.path / WALK
    walk, groups, container = Walk(), [Group(0, 0)], ""
    try:
        with file.open("w", encoding="ascii", newline="\n", buffering=BUFFER_BYTES) as lines:
            for position, ref in enumerate(refs):
                lines.write(line_of(ref, position))
                walk.add(ref.path)
                if (found := _container(ref.path)) != container:
                    container = found
                    groups.append(Group(position, 0))
                if container:
                    groups[-1] = Group(groups[-1].first, groups[-1].films + 1)
    except OSError as error:
        raise cannot_write(file, error) from error
    return Walked(file, walk.found, walk.digest(), [group for group in groups if group.films])


def cut(folder: PlanFolder, walked: Walked, tasks: int) -> tuple[SliceEntry, ...]:
    """Cut a walk into about so many slices, and take it away.

    Raises:
        WriteError: as above.
    """
    starts = [*starts_of(walked.films, tasks, walked.groups), walked.films]
    slices = []
    with walked.file.open("rb", buffering=BUFFER_BYTES) as lines:
        for number, (first, end) in enumerate(itertools.pairwise(starts), start=1):
            sha256 = _write_slice(slice_file(folder.path, number), itertools.islice(lines, end - first))
            slices.append(SliceEntry(first, end - first, sha256))
    walked.file.unlink()
    return tuple(slices)


def save(folder: PlanFolder, plan: Sliced) -> None:
    """Write plan.json, which makes the plan whole."""
    write_json(folder.path / PLAN, asdict(plan))


def starts_of(films: int, tasks: int, groups: Sequence[Group] = ()) -> list[int]:
    """Where slices begin: of equal size, but for containers, which are cut only where they are larger than a slice.

    Args:
        films: of the walk, at least one.
        tasks: slices that are wanted.
        groups: films of one container each, in their order.
    """
    firsts = [group.first for group in groups]
    starts = [0]
    tasks = min(tasks, films)
    for number in range(1, tasks):
        at = number * films // tasks
        index = bisect.bisect_right(firsts, at) - 1
        if index >= 0:
            first, size = groups[index]
            if first < at < first + size and size * tasks <= films:
                at = first if at - first <= first + size - at else first + size
        if starts[-1] < at < films:
            starts.append(at)
    return starts


def _container(path: str) -> str:
    """The .zip or .tar of a film in one, which is read from one end to the other; nothing for a film that is alone."""
    return parse_member(path).container if kind_of_place(path) == "member" else ""


def _write_slice(file: Path, lines: Iterator[bytes]) -> str:
    """Write the lines; the SHA-256 of them."""
    sha256 = hashlib.sha256()
    with WholeFile(file, private=True) as whole:
        try:
            for some in iter(lambda: b"".join(itertools.islice(lines, 4096)), b""):
                whole.file.write(some)
                sha256.update(some)
            whole.commit()
        except OSError as error:
            raise cannot_write(file, error) from error
    return sha256.hexdigest()
