"""What kind of image a file holds, told by its first bytes; cheap enough to ask of every file in a folder.

Imports nothing but the standard library: folders are listed without loading NumPy, Pillow or pydicom.
"""

from __future__ import annotations

import os
import struct
from typing import Literal

from cxrzero.errors import ImageError

Kind = Literal["dicom", "dicomdir", "png", "jpeg", "tiff", "bmp", "gif", "webp", "jp2", "j2k"]

# Enough for the preamble, "DICM", and the file meta information up to the SOP class (PS3.10, 7.1): about 400 bytes.
HEAD_BYTES = 1024

# PS3.4, Media Storage Directory Storage: the SOP class of a DICOMDIR, with the NUL or separator that ends it.
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "j2k"),
)

# PS3.5, 6.2: value representations that may stand at the start of group 0002 or 0008, with a 2-byte length.
_SHORT_VR = frozenset({b"UI", b"CS", b"DA", b"TM", b"SH", b"LO", b"PN", b"AE", b"UL", b"US", b"ST", b"DT"})
_LONG_VR = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"UR", b"UC"})


def kind_of(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Kind | None:
    """The kind of image that the file holds by content, or None when it holds none.

    Reads at most `HEAD_BYTES` bytes. A DICOM file without its 128-byte preamble is known by its first element.

    Raises:
        ImageError: "unreadable" when the file cannot be opened or read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read ({error.strerror or 'input/output error'})") from None
    return kind_of_bytes(head)


def kind_of_bytes(head: bytes) -> Kind | None:
    """Tell the kind of a file as `kind_of` does, by its first bytes."""
    if head[128:132] == b"DICM":
        return _dicom_kind(head)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    # BMP has two magic bytes only, so its reserved zeros and the size of its second header are asked too.
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and head[14:18] in _BMP_HEADER_SIZES:
        return "bmp"
    if _starts_with_element(head):
        return _dicom_kind(head)
    return None


# Sizes of BITMAPCOREHEADER, BITMAPINFOHEADER, its V2 and V3, OS/2 2.x, V4 and V5, little endian.
_BMP_HEADER_SIZES = frozenset(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))


def _dicom_kind(head: bytes) -> Kind:
    return "dicomdir" if _DICOMDIR_CLASS in head else "dicom"


def _starts_with_element(head: bytes) -> bool:
    """True when the bytes can only be the first data element of group 0002 or 0008 (PS3.5, 7.1).

    Strict, so that text is not taken for DICOM: the element must be followed by another of the same or a later group.
    """
    for order in "<", ">":
        end = _element_end(head, order)
        if end is None:
            continue
        if end + 4 > len(head):
            return end <= len(head) and len(head) < HEAD_BYTES
        first, second = (struct.unpack_from(order + "HH", head, at) for at in (0, end))
        return bool(first < second and second[0] <= 0x0010)
    return False


def _element_end(head: bytes, order: str) -> int | None:
    """Offset behind the first element, if it is a plausible one."""
    if len(head) < 8:
        return None
    group, element = struct.unpack_from(order + "HH", head, 0)
    # 0008,0000-0070: group length, character set, SOP class, dates, modality, manufacturer.
    if not ((group == 0x0002 and element <= 0x0002) or (group == 0x0008 and element <= 0x0070)):
        return None
    vr = head[4:6]
    if vr in _SHORT_VR:
        length, at = struct.unpack_from(order + "H", head, 6)[0], 8
    elif vr in _LONG_VR and len(head) >= 12:
        length, at = struct.unpack_from(order + "I", head, 8)[0], 12
    elif order == "<":  # implicit VR is little endian only
        length, at = struct.unpack_from("<I", head, 4)[0], 8
    else:
        return None
    # No element that may come first is longer than a list of UIDs or character sets.
    return at + length if length <= 512 else None
