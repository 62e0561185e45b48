"""What of an identifier's cell is compared: a path's end, a file's name, a folder, a number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from cxrzero.sources import IMAGE_SUFFIXES

Transform = Callable[[str], str]

# What a file name may end in and mean the same film: pictures, how they are packed, and what is written beside them.
# Nothing else is taken for a suffix: the last part of a UID is none.
FILE_SUFFIXES = IMAGE_SUFFIXES | {
    ".dic", ".ima", ".j2k", ".jls", ".gif", ".webp", ".nii", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".pt", ".h5",
    ".gz", ".bz2", ".xz", ".zst", ".zip", ".txt", ".xml", ".json",
}  # fmt: skip

# A number of at least four digits, with a folder's letters before it ("s50410000") or a spreadsheet's zero behind it.
_LETTERS_AND_NUMBER = re.compile(r"[A-Za-z]{1,9}[-_]?(\d{4,})")
_NUMBER = re.compile(r"(\d{4,})(?:[.,]0)?")
_IN_POWERS = re.compile(r"\d(?:[.,]\d+)?e\+\d+", re.IGNORECASE)


def tail(parts: int | None) -> Transform:
    """The last `parts` components of a path (all for None), with / and in one Unicode form."""

    def key(cell: str) -> str:
        whole = plain_path(cell)
        return whole if parts is None else "/".join(whole.split("/")[-parts:])

    return key


def stem(cell: str) -> str:
    """File name without the suffixes of a picture: "a/1.2.3.dcm" is "1.2.3", and so is "1.2.3"."""
    name = plain_path(cell).rsplit("/", 1)[-1]
    while (dot := name.rfind(".")) > 0 and name[dot:].lower() in FILE_SUFFIXES:
        name = name[:dot]
    return name


def folder_tail(parts: int | None) -> Transform:
    """The last components of a path's folder."""
    keep = tail(parts)
    return lambda cell: keep(plain_path(cell).rpartition("/")[0])


def folder_above(cell: str) -> str:
    """The name of the folder that holds a path's folder: of pXXXX/sYYYY/film.dcm the patient's."""
    return folder_tail(2)(cell).rpartition("/")[0]


def number(cell: str) -> str:
    """A cell that is a number; "" for any other."""
    match = _NUMBER.fullmatch(cell.strip())
    return match[1] if match else ""


def number_after_letters(cell: str) -> str:
    """The number of a cell that is letters and a number: "s50410000"; "" for any other."""
    match = _LETTERS_AND_NUMBER.fullmatch(cell.strip())
    return match[1] if match else ""


def bare(cell: str) -> str:
    """What tables that write one identifier differently have in common: no letters before a number, no zeros."""
    return (number_after_letters(cell) or number(cell) or cell.strip()).lstrip("0")


def is_in_powers(cell: str) -> bool:
    """Whether a spreadsheet has turned an identifier into a number, and lost its last digits: "1.23E+15"."""
    return _IN_POWERS.fullmatch(cell.strip()) is not None


def is_short(key: str) -> bool:
    """Whether an identifier has fewer than four digits, so that other patients may well have the same."""
    return sum(map(str.isdigit, key)) < 4


def plain_path(cell: str) -> str:
    return unicodedata.normalize("NFC", cell.strip().replace("\\", "/")).removeprefix("./").rstrip("/")
