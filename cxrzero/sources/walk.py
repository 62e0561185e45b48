"""The films of a file or folder of this machine, in the order of names as bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cxrzero.errors import ImageError, SkippedImage
from cxrzero.images.leftovers import FORK, count_files, is_leftover_file, is_leftover_folder
from cxrzero.images.sniff import kind_of
from cxrzero.places.members import names_container
from cxrzero.sources.refs import FileIdentity, ImageRef, WalkCounts, identity_of

IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".jp2"})


def films_at(path: str, counts: WalkCounts) -> Iterator[ImageRef]:
    """The films at a path that was named; what is wrong with one is a ref with an error."""
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
            if claims_image(name) and not name.startswith(FORK):
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
        counts.unopened += names_container(name)


def _in_order(names: list[str]) -> list[str]:
    """Sort names as bytes; for ASCII, where nearly all archives stay, characters have the same order."""
    return sorted(names) if "".join(names).isascii() else sorted(names, key=os.fsencode)


def claims_image(name: str) -> bool:
    """Whether its suffix says that it is an image."""
    stem, dot, suffix = name.rpartition(".")  # os.path.splitext takes six times as long
    return bool(stem.strip(".")) and dot + suffix.lower() in IMAGE_SUFFIXES


def _ref_in_folder(path: str, name: str, identity: FileIdentity) -> ImageRef | None:
    if name[:1] == "." and is_leftover_file(path, name):
        return None
    claims = claims_image(name)
    if claims and not name.upper().startswith("DICOMDIR"):
        return ImageRef(path, None, identity)
    try:
        kind = kind_of(path)
        is_image = kind != "dicomdir" and (claims or kind is not None)
        return ImageRef(path, identity=identity) if is_image else None
    except ImageError as error:
        # DICOM archives often have no suffix: a file that cannot be opened may be a lost image, so it is a row.
        return ImageRef(path, error)


def _open_error(path: str, error: OSError) -> ImageError:
    if os.path.islink(path):
        return ImageError("broken_link", "the link leads to nothing that can be opened")
    return ImageError("missing" if isinstance(error, FileNotFoundError) else "unreadable", f"{error.strerror}")
