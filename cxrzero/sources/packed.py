"""The films in a .zip or .tar file, which is a folder where it is named.

What is an image in it is decided as in a folder: by its suffix or its first bytes. What is refused without a look at
its bytes is a row that says why, whatever it may be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cxrzero.containers.blob import Blob, LocalBlob
from cxrzero.containers.entry import Entry
from cxrzero.containers.names import is_left_over
from cxrzero.containers.open import Container, OpenContainers
from cxrzero.errors import ImageError, NoInputError
from cxrzero.images.leftovers import has_leftover_name
from cxrzero.images.sniff import HEAD_BYTES, kind_of_bytes
from cxrzero.places.kind import is_local
from cxrzero.places.members import Member, names_container, parse_member
from cxrzero.sources.refs import NO_OBJECTS, ImageRef, WalkCounts
from cxrzero.sources.walk import claims_image

if TYPE_CHECKING:
    from cxrzero.sources.objects import Objects

# Of a .tar file that is compressed as a whole, of which no member can be read without all before it.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_ZIP_STARTS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
_USTAR = slice(257, 262)


def is_container(path: str) -> bool:
    """Whether a file of this machine is taken for what its name says, and is no film under such a name."""
    if not names_container(path) and not path.lower().endswith(COMPRESSED):
        return False
    try:
        if not os.path.isfile(path):  # nobody may ever write to a pipe
            return False
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:  # said when it is read as a film
        return False
    return head.startswith(_ZIP_STARTS) or head[_USTAR] == b"ustar" or kind_of_bytes(head) is None


def open_blob(path: str, objects: Objects | None = None) -> Blob:
    """The bytes of a container, wherever it is. Raises ImageError: it cannot be read."""
    if is_local(path):
        return LocalBlob(path)
    if objects is None:
        raise NoInputError(NO_OBJECTS)
    return objects.open(path)


def films_in(path: str, counts: WalkCounts, objects: Objects | None = None) -> Iterator[ImageRef]:
    """The films in a container; what is wrong with it is a ref of its own, with an error."""
    try:
        _check(path)
        container = Container(path, open_blob(path, objects))
        for entry in container.entries():
            ref = _ref(container, entry)
            if ref is None:
                counts.ignored += 1
            else:
                yield ref
    except ImageError as error:
        yield ImageRef(path, error)


def film_at(path: str, containers: OpenContainers) -> ImageRef:
    """A member that is named."""
    try:
        return ImageRef(path, identity=containers.identity(*parse_member(path)))
    except ImageError as error:
        return ImageRef(path, error)


def _check(path: str) -> None:
    if path.lower().endswith(COMPRESSED):
        raise ImageError(
            "container_unsupported",
            "a compressed .tar file can only be read from its start, so each film would cost all before it; "
            "unpack it, or pack it without compression: films hardly become smaller",
        )
    if os.path.isdir(path + "!"):
        raise ImageError(
            "container_unsupported",
            'beside it is a folder of the same name with "!" at its end, so a path could mean either; rename one',
        )


def _ref(container: Container, entry: Entry) -> ImageRef | None:
    name = entry.name.rpartition("/")[2]
    is_leftover = has_leftover_name(name)
    if is_left_over(entry.name) or (is_leftover and entry.fault):
        return None
    path = str(Member(container.path, entry.name))
    if error := entry.error():
        return ImageRef(path, error)
    claims = claims_image(name) and not is_leftover
    try:
        if not claims or name.upper().startswith("DICOMDIR"):
            kind = kind_of_bytes(container.head(entry))
            if kind == "dicomdir" or (kind is None and not claims):
                return None
    except ImageError as error:
        return None if is_leftover else ImageRef(path, error)
    return ImageRef(path, identity=entry.identity(container.blob.identity))
