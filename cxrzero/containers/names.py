"""Names of members: which are refused, and what systems leave between films."""

from __future__ import annotations

import re

from cxrzero.containers.limits import MAX_NAME_BYTES
from cxrzero.display.visible import visible
from cxrzero.images.leftovers import is_leftover_folder

_DRIVE = re.compile(r"[A-Za-z]:")
# Archive files inside of archive files, by their names; `.docx` and the like are ZIP files too, and hold no film.
_NESTED = re.compile(r"\.(?:zip|tar|7z|rar|tgz|tbz2?|txz|tzst|tar\.(?:gz|bz2|xz|zst|lz4|Z))\Z", re.IGNORECASE)


def plain(name: str) -> str:
    """A name as rows have it: without the "./" that tar puts before names."""
    while name.startswith("./"):
        name = name[2:]
    return name


def is_safe(name: str) -> bool:
    """Whether a name is one of a place inside of the container, whatever system reads it."""
    if "\\" in name or "\0" in name or _DRIVE.match(name) or len(name) > MAX_NAME_BYTES:
        return False
    return not {"", ".", ".."}.intersection(name.split("/"))


def shown(name: str) -> str:
    """A name that is refused, for its row: nothing that a system could obey is left in it."""
    return visible(name[:MAX_NAME_BYTES])


def is_nested(name: str) -> bool:
    return bool(_NESTED.search(name))


def is_left_over(name: str) -> bool:
    """Whether it is in a folder that systems leave, such as `__MACOSX`."""
    return any(map(is_leftover_folder, name.split("/")[:-1]))
