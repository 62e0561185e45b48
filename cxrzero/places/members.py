"""Films inside of a container, which is a .zip or .tar file: `folder/a.zip!/dir/x.dcm`."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

CONTAINER_SUFFIXES = (".zip", ".tar")
_MEMBER = re.compile(r"(.*?[^/\\]\.(?:zip|tar))!/(.+)", re.IGNORECASE | re.DOTALL)


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
    found = _MEMBER.fullmatch(path)
    return found is not None and ("://" in found[1] or not os.path.isdir(found[1] + "!"))


def parse_member(path: str) -> Member:
    """The parts of a path of which `cxrzero.places.kind.kind_of_place` says "member"."""
    found = _MEMBER.fullmatch(path)
    assert found is not None, "this was asked before"
    return Member(found[1], found[2])
