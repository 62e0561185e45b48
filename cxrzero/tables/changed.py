"""What is said of a film that is no longer the one that a table is of, wherever its row is looked at again."""

from __future__ import annotations

from cxrzero.places.kind import is_local, kind_of_place

MOVED = "there is no file at this path now"
# Of films in an archive, whose address the table has: a table that somebody wrote decides nothing of the network.
IN_ARCHIVE = "its film is in an archive and no archive is asked because a table names it; see docs/archive.md"
NOT_KEPT = "its film is in an archive and was not found in the folder of predict --keep-files; see docs/archive.md"
# The same of object stores and web servers.
IN_STORE = (
    "its film is in a store and no store is asked because a table names it: copy the films here, and give their folder "
    "with --images; see docs/places.md"
)
OTHER_FILM = "another film is at this path now: its SOP Instance UID is not the table's"
NO_FRAME = "the file has no such frame now"
# Of a probability, from which on it is another: tables have float32 in full; between backends and devices fp32 differs
# by less.
TOLERANCE = 1e-5


def not_there(path: str) -> str:
    """Why the film of a path cell is not found in a folder of this machine."""
    if is_local(path):
        return MOVED
    return NOT_KEPT if kind_of_place(path) == "archive" else IN_STORE
