"""The coded statements of a DICOM header: View Code Sequence, Anatomic Region Sequence and the like (PS3.3, 8.8)."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import items, text


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
    try:
        return tuple(
            Code(
                text(item, "CodeValue"),
                text(item, "CodeMeaning"),
                codes(item, modifiers) if modifiers else (),
            )
            for item in items(header, keyword)
        )
    except ImageError:  # a broken description is no reason to refuse the pixels
        return ()
