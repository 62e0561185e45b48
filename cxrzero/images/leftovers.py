"""What systems leave among images and is none: resource forks, previews, indexes, waste baskets.

Some bear an image's suffix (`._film.jpg` is a film's resource fork), and some are images, but previews of others or
films that were thrown away.
"""

from __future__ import annotations

import os

from cxrzero.errors import ImageError
from cxrzero.images.sniff import kind_of

# Of macOS on disks that are not its own (AppleDouble, RFC 1740) and in its ZIP archives.
FORK = "._"
# Compared without case.
FILES = frozenset({".ds_store", ".directory", "desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"})
# macOS and Netatalk; previews of Synology and QNAP; deleted files of macOS, Linux and Windows.
FOLDERS = frozenset({"__macosx", ".appledouble", "@eadir", ".@__thumb", ".trashes", ".trash", "$recycle.bin"})


def is_leftover_folder(name: str) -> bool:
    return name[:1] in "_.@$" and (name.lower() in FOLDERS or name.startswith(".Trash-"))


def has_leftover_name(name: str) -> bool:
    return name.startswith(FORK) or name.lower() in FILES


def is_leftover_file(path: str, name: str) -> bool:
    """Whether the name is that of a leftover; a file with an image's content is an image, whatever it is called."""
    return has_leftover_name(name) and not _is_image(path)


def count_files(folder: str) -> int:
    """Files below a folder; links are not followed."""
    return sum(len(files) for _, _, files in os.walk(folder))


def _is_image(path: str) -> bool:
    try:
        return kind_of(path) not in (None, "dicomdir")
    except ImageError:
        return False  # by its name no lost image
