"""All that the user named as one stream of films."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING

from cxrzero.containers.open import OpenContainers
from cxrzero.errors import NoInputError
from cxrzero.files import is_database
from cxrzero.places.kind import is_local, kind_of_place, shown
from cxrzero.places.members import file_of, names_container
from cxrzero.sources.lists import expand_lists
from cxrzero.sources.packed import film_at, films_in, is_container, open_blob
from cxrzero.sources.refs import FILES_ONLY, NO_OBJECTS, ImageRef, WalkCounts, archived
from cxrzero.sources.walk import films_at

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.sources.objects import Objects

# Suffixes of files of embeddings (`cxrzero.embeddings.files`), which are no films.
KEPT = (".npz", ".parquet")


def find_images(
    paths: Iterable[str],
    counts: WalkCounts | None = None,
    archives: Archives | None = None,
    objects: Objects | None = None,
) -> Iterator[ImageRef]:
    """Stream the films behind files, folders, `@list` files and addresses.

    Args:
        paths: what the user gave; `@list.txt` names a file with one path a line (see `cxrzero.sources.lists`).
        counts: filled while the stream is consumed.
        archives, objects: of the addresses; see `check_paths`.

    Raises:
        NoInputError: a list file cannot be read, or is no list of paths.
    """
    counts = WalkCounts() if counts is None else counts
    containers = OpenContainers(partial(open_blob, objects=objects))  # of which many lines of a list may name members
    for is_object, some in groupby(expand_lists(paths), _is_object):
        if is_object:
            if objects is None:
                raise NoInputError(NO_OBJECTS)
            refs = objects.films(some, counts)  # which looks at several at once
        else:
            refs = chain.from_iterable(_films_of(path, counts, archives, objects, containers) for path in some)
        for ref in refs:
            counts.found += 1
            yield ref


def _is_object(path: str) -> bool:
    """Whether it names an object, or some, of which none is a container."""
    return kind_of_place(path) == "object" and not names_container(path)


def _films_of(
    path: str,
    counts: WalkCounts,
    archives: Archives | None,
    objects: Objects | None,
    containers: OpenContainers,
) -> Iterator[ImageRef]:
    kind = kind_of_place(path)
    if kind == "archive":
        return _from_archive(path, archives)
    if kind == "member":
        return iter((film_at(path, containers),))
    if kind == "object" or is_container(path):
        return films_in(path, counts, objects)
    return films_at(path, counts)


def check_paths(paths: Sequence[str], archives: Archives | None = None, objects: Objects | None = None) -> None:
    """Find a misspelt argument before anything runs.

    Args:
        archives, objects: are told of the addresses; None where the caller reads from none.

    Raises:
        UsageError: see `Archives.check` and `Objects.check`.
        NoInputError: nothing given, a path that does not exist (a broken link exists: it becomes a failed row), a list
            file that cannot be read or is no list of paths, a database of results, or a file of embeddings.
    """
    if not paths:
        raise NoInputError("no input: name a file, a folder or @list.txt")
    for path in paths:
        if is_database(path):
            raise NoInputError(
                "a database is given where films are read; its table is written by cxrzero table DATABASE --out "
                "predictions.csv"
            )
        if path.lower().endswith(KEPT) and is_local(path):
            raise NoInputError(
                f"{shown(path)} holds no films: embeddings that cxrzero embed kept are asked with --embeddings FILE"
            )
        if not path.startswith("@") and is_local(path) and not os.path.lexists(file := file_of(path)):
            raise NoInputError(f"{file} does not exist")
    count = 0
    addresses: list[str] = []
    for given in paths:
        for path in expand_lists([given]):  # reads every list to its end
            count += 1
            kind = kind_of_place(path)
            if kind == "archive":
                addresses.append(path)
            elif kind == "object" or (kind == "member" and not is_local(path)):
                if objects is None:
                    raise NoInputError(NO_OBJECTS)
                objects.check([file_of(path)], is_list=given.startswith("@"))
    if not count:
        raise NoInputError("the list files name no path")
    if addresses and archives is None:
        raise NoInputError(FILES_ONLY)
    if archives is not None:
        archives.check(addresses)


def _from_archive(address: str, archives: Archives | None) -> Iterator[ImageRef]:
    if archives is None:
        raise NoInputError(FILES_ONLY)
    for found in archives.instances(address):
        path = str(found.address)
        if found.error is None:
            yield ImageRef(path, identity=archived(path), is_anew=archives.is_wanted_anew(path))
        else:
            yield ImageRef(path, found.error)
