"""@list files: one path a line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from cxrzero.errors import NoInputError


def expand_lists(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path.startswith("@"):
            yield from _read_list(path[1:])
        else:
            yield path


def _read_list(path: str) -> Iterator[str]:
    """The paths of a list file, one a line, relative to the current folder.

    A line that exists as it stands is taken so. Else blanks around it and quotation marks around it are taken off, and
    a line that begins with "#" is a comment.

    Raises:
        NoInputError: it cannot be read, is a pipe, or has what is no path in it.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # It is read more than once: checked, counted, walked. A pipe would lose lines.
            raise NoInputError(f"the list {path or '@'} is not a file; save it to one first")
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")  # UTF-8 byte order mark
                if b"\0" in line:
                    raise NoInputError(f"the list {path}, line {number}: no text; save it as UTF-8, one path a line")
                entry = _path_in(os.fsdecode(line.rstrip(b"\r\n")))
                if entry.startswith("@") and not os.path.lexists(entry):
                    raise NoInputError(
                        f"the list {path}, line {number}: a list in a list is not read; name it beside this one"
                    )
                if entry:
                    yield entry
    except OSError as error:
        raise NoInputError(f"the list file {path} cannot be read: {error.strerror}") from error


def _path_in(line: str) -> str:
    """The path on a line of a list, or nothing."""
    plain = line.strip()
    is_odd = plain != line or plain[:1] in ("#", '"', "'")
    if not is_odd or not plain or os.path.lexists(line):
        return plain and line
    if plain.startswith("#"):
        return ""
    return plain[1:-1] if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'" else plain
