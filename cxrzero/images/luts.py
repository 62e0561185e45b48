"""Modality and VOI lookup tables of a header (PS3.3, C.11.1 and C.11.2): the first that is whole.

The data decide how many entries a table has, as in dcmtk, and how many bits they have: those that its largest entry
needs, as in cornerstone, and as dcm4che and Horos show it. Tables of 12-bit entries that state 16 are common (Agfa);
read by the letter, they make a picture 16 times too dark. Where the largest entry has no room in the bits that are
stated, it is white itself: of 12-bit entries that end with 4096, 13 bits would make a picture half as bright.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from cxrzero.errors import ImageError
from cxrzero.images.chain import Lut, Values
from cxrzero.images.dicom_file import binary, raw_value, required_items

# PS3.3, C.11.1.1.1: entries have 8 to 16 bits.
MIN_BITS = 8


def read_lut(header: Dataset, keyword: str, values: Values, signed: bool, big_endian: bool) -> Lut | None:
    """The first item that has both data and descriptor; None where no item has either.

    Args:
        header: of the file or frame.
        keyword: "ModalityLUTSequence" or "VOILUTSequence".
        values: what it is to map.
        signed: these may be negative, and so may be the first that it maps.
        big_endian: byte order of LUT Data where it is stored as OW.

    Raises:
        ImageError: "bad_lut" when items are there, but no whole one.
    """
    started = False
    for item in required_items(header, keyword):
        descriptor, data = binary(item, "LUTDescriptor") or b"", binary(item, "LUTData") or b""
        if len(descriptor) >= 6 and len(data) > 1:
            return _lut(descriptor, data, values, signed, big_endian and _is_ow(item))
        started = started or any(_states(item, keyword) for keyword in ("LUTDescriptor", "LUTData"))
    if started:
        raise ImageError("bad_lut", "a lookup table has no data or no descriptor of three numbers")
    return None


def _states(item: Dataset, keyword: str) -> bool:
    """Whether the attribute is there with a value, readable or not."""
    return raw_value(item, keyword) not in (None, b"", "")


def _lut(descriptor: bytes, data: bytes, values: Values, signed: bool, swapped: bool) -> Lut:
    entries, first, bits = (int(v) for v in np.frombuffer(descriptor[:6], "<u2"))
    table = _table(data, entries or 65536, bits, swapped)  # C.11.1.1.1: 0 means 2^16
    return Lut(_first(first, len(table), values, signed), _white(int(table.max()), bits), table)


def _white(largest: int, stated: int) -> int:
    needed = max(largest.bit_length(), MIN_BITS)
    return largest if MIN_BITS <= stated < needed else (1 << needed) - 1


def _table(data: bytes, entries: int, bits: int, swapped: bool) -> npt.NDArray[np.uint16]:
    """Words; or bytes, two to a word, where there are as many as entries (C.11.1.1.1 lets 8-bit entries be packed)."""
    words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if swapped else "<u2").astype("<u2")
    size = len(data)
    as_stated = size != 2 * entries and size - entries in (0, 1)
    if as_stated or (bits <= MIN_BITS and abs(size - entries) < abs(size - 2 * entries)):
        return words.view(np.uint8)[: entries if as_stated else size].astype(np.uint16)
    return words.astype(np.uint16)


def _first(first: int, entries: int, values: Values, signed: bool) -> int:
    """The first value mapped, of the sign that values have; or of the other, where the table would map none of them."""
    low, high = float(values.min()), float(values.max())
    either = (first - 65536, first) if signed and first > 32767 else (first, first - 65536)
    return next((f for f in either if f <= high and low <= f + entries - 1), either[0])


def _is_ow(item: Dataset) -> bool:
    return str(item["LUTData"].VR) in ("OW", "US or OW", "UN")
