"""Which kind of place a path names, told by its text; one type for all who ask."""

from __future__ import annotations

import re
from typing import Literal

from cxrzero.places.members import is_member

# A file or folder here · an instance in an archive (PACS), or what holds some · an object of a store, or what holds
# some, by any other scheme than a database's · a film inside of a .zip or .tar file, be that a file or an object.
PlaceKind = Literal["file", "archive", "object", "member"]

# Of addresses that `cxrzero.archive.address` reads.
ARCHIVE_SCHEMES = frozenset({"dicomweb+https", "dicomweb+http", "dicom", "dicom+tls"})
# Of addresses that `cxrzero.database.address` reads, with or without a driver behind a "+", or knows to be of another
# database.
DATABASE_SCHEMES = frozenset({"postgresql", "sqlite", "mysql", "mariadb", "mssql", "oracle", "duckdb"})
# RFC 3986, 3.1, of two characters or more: "C://" is a drive of Windows. fsspec's chains of several are none that is
# read, and no paths either.
_SCHEME = re.compile(r"((?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def kind_of_place(path: str) -> PlaceKind:
    """Tell a film, or what holds films, that is no local file from one that is.

    A path is a member's only where no folder has the name before its `!/`, so that each file of this machine has its
    own path as name, whatever it is called.
    """
    scheme = scheme_of(path)
    if scheme in ARCHIVE_SCHEMES:
        return "archive"
    if is_member(path):
        return "member"
    return "object" if scheme and scheme.partition("+")[0] not in DATABASE_SCHEMES else "file"


def is_local(path: str) -> bool:
    """Whether its bytes are in this machine's file system: those of a file, or of a member of one."""
    kind = kind_of_place(path)
    return kind == "file" or (kind == "member" and not scheme_of(path))


def is_file(path: str) -> bool:
    """Whether it is a place of this machine's file system."""
    return kind_of_place(path) == "file"


def shown(path: str) -> str:
    """What a user gave, for messages: the query of an address may be a signature."""
    return path.partition("?")[0] if scheme_of(path) in ("http", "https") else path


def scheme_of(path: str) -> str:
    """What stands before "://", in small letters; "" where nothing does that can be a scheme."""
    if "://" not in path:  # as in nearly every path of an archive of millions
        return ""
    found = _SCHEME.match(path)
    return found[1].lower() if found else ""
