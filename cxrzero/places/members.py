"""Films inside of a container, which is a .zip or .tar file: `folder/a.zip!/dir/x.dcm`."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

CONTAINER_SUFFIXES = (".zip", ".tar")
_MARK = re.compile(r"[^/\\]\.(?:zip|tar)!/(?=.)", re.IGNORECASE | re.DOTALL)


class Member(NamedTuple):
    """A film in a container.

    Attributes:
        container: path of a file, or address of an object.
        name: in it, with "/" between its parts.
    """

    container: str
    name: str

    def __str__(self) -> str:
        return f"{self.container}!/{self.name}"


def names_container(path: str) -> bool:
    """Whether a file or object of this name is one that holds films, where it is named."""
    return path.lower().endswith(CONTAINER_SUFFIXES)


def is_member(path: str) -> bool:
    return _split(path) is not None


def parse_member(path: str) -> Member:
    """The parts of a path of which `cxrzero.places.kind.kind_of_place` says "member"."""
    member = _split(path)
    assert member is not None, "this was asked before"
    return member


def file_of(path: str) -> str:
    """The file, or object, that has a film's bytes: its container, or itself."""
    member = _split(path)
    return path if member is None else member.container


def _split(path: str) -> Member | None:
    """Part a path at its first mark, unless a folder of this machine has the name that ends there."""
    if "!/" not in path:  # as in nearly every path of an archive of millions
        return None
    for found in _MARK.finditer(path):
        container = path[: found.end() - len("!/")]
        if "://" in container or not os.path.isdir(container + "!"):
            return Member(container, path[found.end() :])
    return None
