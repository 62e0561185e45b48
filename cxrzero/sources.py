"""From the user's paths to a stream of files, in an order that never changes.

Arguments come in the order given; inside a folder the walk is depth first and compares names as bytes
(`os.fsencode`), so a table has the same rows in the same places on every machine. What becomes a row: every file named
explicitly, every file whose suffix claims an image, and every file that is an image or DICOM by content. Everything
else in a folder is ignored and counted, and so is what systems leave there (`cxrzero.images.leftovers`). A DICOMDIR
that is named stands for the images that it lists; in a folder it is ignored, because the walk finds those images
itself. The address of an archive stands for the instances in it (`cxrzero.archive`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cxrzero.archive.address import names_archive
from cxrzero.errors import ImageError, NoInputError, SkippedImage
from cxrzero.files import is_database
from cxrzero.images.leftovers import FORK, count_files, is_leftover_file, is_leftover_folder
from cxrzero.images.sniff import kind_of

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives

FILES_ONLY = (
    "this reads files, and not from an archive: fetch its films first, with cxrzero predict ADDRESS --keep-files DIR, "
    "and give DIR"
)
IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".jp2"})


FileIdentity = tuple[int, int, int]
# Of an instance in an archive: its address says all.
ARCHIVED: FileIdentity = (0, 0, 0)


def identity_of(status: os.stat_result) -> FileIdentity:
    """(size in bytes, modification time in ns, inode): what changes when a file's content does."""
    return status.st_size, status.st_mtime_ns, status.st_ino


class ImageRef(NamedTuple):
    """A file, or an instance in an archive, that becomes one row or more.

    Attributes:
        path: as found under the argument given; an instance's address.
        error: set when it is known already that the file cannot be opened.
        identity: of the file when it was found; None where that is not known, and nothing is then cached.
        position: among all files of the walk, from 0; None where nobody counts (`cxrzero.predict.shardlog` does).
        is_anew: whether it is read though the cache knows it.
    """

    path: str
    error: ImageError | None = None
    identity: FileIdentity | None = None
    position: int | None = None
    is_anew: bool = False


@dataclass(slots=True)
class WalkCounts:
    """Counted while walking."""

    found: int = 0
    ignored: int = 0


def find_images(
    paths: Sequence[str], counts: WalkCounts | None = None, archives: Archives | None = None
) -> Iterator[ImageRef]:
    """Stream the files behind files, folders, `@list` files and addresses of archives.

    Args:
        paths: what the user gave; `@list.txt` names a file with one path a line (see `_read_list`).
        counts: filled while the stream is consumed.
        archives: of the addresses; see `check_paths`.

    Raises:
        NoInputError: a list file cannot be read, or is no list of paths.
    """
    counts = WalkCounts() if counts is None else counts
    for path in expand_lists(paths):
        for ref in _from_archive(path, archives) if names_archive(path) else _from_argument(path, counts):
            counts.found += 1
            yield ref


def check_paths(paths: Sequence[str], archives: Archives | None = None) -> None:
    """Find a misspelt argument before anything runs.

    Args:
        archives: are told of the addresses; None where the caller reads from no archive.

    Raises:
        UsageError: see `Archives.check`.
        NoInputError: nothing given, a path that does not exist (a broken link exists: it becomes a failed row), or a
            list file that cannot be read, or is no list of paths; a database of results.
    """
    if not paths:
        raise NoInputError("no input: name a file, a folder or @list.txt")
    for path in paths:
        if is_database(path):
            raise NoInputError(
                "a database is given where films are read; its table is written by cxrzero table DATABASE --out "
                "predictions.csv"
            )
        if not path.startswith("@") and not names_archive(path) and not os.path.lexists(path):
            raise NoInputError(f"{path} does not exist")
    count, addresses = 0, []
    for path in expand_lists(paths):  # reads every list to its end
        count += 1
        if names_archive(path):
            addresses.append(path)
    if not count:
        raise NoInputError("the list files name no path")
    if addresses and archives is None:
        raise NoInputError(FILES_ONLY)
    if archives is not None:
        archives.check(addresses)


def expand_lists(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if path.startswith("@"):
            yield from _read_list(path[1:])
        else:
            yield path


def _from_archive(address: str, archives: Archives | None) -> Iterator[ImageRef]:
    if archives is None:
        raise NoInputError(FILES_ONLY)
    for found in archives.instances(address):
        path = str(found.address)
        if found.error is None:
            yield ImageRef(path, identity=ARCHIVED, is_anew=archives.is_wanted_anew(path))
        else:
            yield ImageRef(path, found.error)


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


def _from_argument(path: str, counts: WalkCounts) -> Iterator[ImageRef]:
    try:
        status = os.stat(path)
    except OSError as error:
        yield ImageRef(path, _open_error(path, error))
        return
    if stat.S_ISDIR(status.st_mode):
        yield from _walk(path, counts, ancestors=((status.st_dev, status.st_ino),))
    elif stat.S_ISREG(status.st_mode):
        yield from _follow(path, identity_of(status))
    else:
        yield ImageRef(path, ImageError("not_a_file", "this is a pipe, socket or device, not a file"))


def _follow(path: str, identity: FileIdentity) -> Iterator[ImageRef]:
    """A file that is named: itself, or what it lists if it is a DICOMDIR."""
    try:
        kind = kind_of(path)
        if kind is None and is_leftover_file(path, os.path.basename(path)):
            yield ImageRef(path, SkippedImage("system_file", "left by the operating system; it holds no image"))
            return
        if kind != "dicomdir":
            yield ImageRef(path, identity=identity)
            return
        from cxrzero.images.dicomdir import referenced_files

        for file in referenced_files(path):
            if os.path.isfile(file):
                yield ImageRef(file, identity=identity_of(os.stat(file)))
            else:
                yield ImageRef(file, ImageError("missing", "listed in the DICOMDIR, but not there"))
    except ImageError as error:
        yield ImageRef(path, error)


def _walk(folder: str, counts: WalkCounts, ancestors: tuple[tuple[int, int], ...]) -> Iterator[ImageRef]:
    try:
        names = _in_order(os.listdir(folder))
    except OSError as error:
        yield ImageRef(folder, ImageError("unreadable_folder", f"the folder cannot be listed ({error.strerror})"))
        return
    prefix = os.path.join(folder, "")
    for name in names:
        path = prefix + name
        try:
            status = os.stat(path)
        except OSError as error:
            if _claims_image(name) and not name.startswith(FORK):
                yield ImageRef(path, _open_error(path, error))
            else:
                counts.ignored += 1
            continue
        if stat.S_ISREG(status.st_mode):
            ref = _ref_in_folder(path, name, identity_of(status))
            if ref is not None:
                yield ref
                continue
        elif stat.S_ISDIR(status.st_mode):
            place = (status.st_dev, status.st_ino)
            if is_leftover_folder(name):
                counts.ignored += count_files(path)
                continue
            if place not in ancestors:  # as a link back to a folder that is being walked is
                yield from _walk(path, counts, (*ancestors, place))
                continue
        counts.ignored += 1


def _in_order(names: list[str]) -> list[str]:
    """Sort names as bytes; for ASCII, where nearly all archives stay, characters have the same order."""
    return sorted(names) if "".join(names).isascii() else sorted(names, key=os.fsencode)


def _claims_image(name: str) -> bool:
    stem, dot, suffix = name.rpartition(".")  # os.path.splitext takes six times as long
    return bool(stem.strip(".")) and dot + suffix.lower() in IMAGE_SUFFIXES


def _ref_in_folder(path: str, name: str, identity: FileIdentity) -> ImageRef | None:
    if name[:1] == "." and is_leftover_file(path, name):
        return None
    claims_image = _claims_image(name)
    if claims_image and not name.upper().startswith("DICOMDIR"):
        return ImageRef(path, None, identity)
    try:
        kind = kind_of(path)
        is_image = kind != "dicomdir" and (claims_image or kind is not None)
        return ImageRef(path, identity=identity) if is_image else None
    except ImageError as error:
        # DICOM archives often have no suffix: a file that cannot be opened may be a lost image, so it is a row.
        return ImageRef(path, error)


def _open_error(path: str, error: OSError) -> ImageError:
    if os.path.islink(path):
        return ImageError("broken_link", "the link leads to nothing that can be opened")
    return ImageError("missing" if isinstance(error, FileNotFoundError) else "unreadable", f"{error.strerror}")
