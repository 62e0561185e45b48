"""What a DICOM header says in code: its code strings (PS3.5, 6.2), and its sequences of codes (PS3.3, 8.8)."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from cxrzero.images.dicom_file import items, text, texts


class Code(NamedTuple):
    """One item of a code sequence.

    Attributes:
        value: e.g. "399348003"; which scheme it is of, the value itself tells.
        meaning: the same in words, of any language.
        modifiers: what else its item states about it.
    """

    value: str = ""
    meaning: str = ""
    modifiers: tuple[Code, ...] = ()


def codes(header: Dataset, keyword: str, modifiers: str = "") -> tuple[Code, ...]:
    """The codes of a sequence, () where there is none; one that cannot be read is not stated.

    Args:
        header: the data set or item that has the sequence.
        keyword: of the sequence.
        modifiers: keyword of the sequence in each item that modifies it.
    """
    return tuple(
        Code(text(item, "CodeValue"), text(item, "CodeMeaning"), codes(item, modifiers) if modifiers else ())
        for item in items(header, keyword)
    )


def wording(header: Dataset, keyword: str) -> str:
    """All values of a code string as they were meant to be read, parted by blanks; "" when absent or unreadable.

    Code strings are ASCII, and pydicom reads them so; files that put TÓRAX there mean the character set that they
    state.
    """
    said = " ".join(texts(header, keyword))
    if said.isascii() and "\x1b" not in said:  # by an escape, ISO 2022 writes other scripts in ASCII's bytes
        return said
    try:
        encodings = convert_encodings(texts(header, "SpecificCharacterSet") or None)
        return decode_bytes(said.encode("latin-1"), encodings, set())
    except (UnicodeError, LookupError, TypeError, ValueError):
        return said  # it was decoded already, or the character set is none
