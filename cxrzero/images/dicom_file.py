"""The bytes of a DICOM file up to its pixels → a pydicom Dataset of the attributes that are needed, and nothing else.

pydicom's parser is used as it is, behind a file object (`bounded_file.py`) that makes lying lengths harmless.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as SequenceOfItems
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrzero.errors import ImageError
from cxrzero.images.bounded_file import BoundedFile
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.images.radiograph import Facts

KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
    "PresentationIntentType",
    "BodyPartExamined",
    "ViewPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "AnatomicRegionSequence",
    "CodeValue",
    "CodeMeaning",
    "BurnedInAnnotation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleIntercept",
    "RescaleSlope",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "LUTDescriptor",
    "LUTData",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)

# Pixel Data, Float Pixel Data, Double Float Pixel Data.
PIXEL_TAGS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
PIXEL_DATA = 0x7FE00010
UNDEFINED_LENGTH = 0xFFFFFFFF

# Bytes that a deflated file may grow to: a 43 cm detector makes 37 MB, so a series of seven fits.
MAX_INFLATED_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class DicomFile:
    """An open DICOM file, read up to its pixels.

    Attributes:
        header: those of the attributes asked for that the file has.
        file: positioned at the first byte of the pixel data's value.
        transfer_syntax: UID; of a file that states none, the one its encoding shows.
        pixel_tag: tag of the pixel data, 0 when there is none.
        pixel_vr: its VR, "" in implicit VR files.
        pixel_length: bytes of its value, `UNDEFINED_LENGTH` when encapsulated.
    """

    header: Dataset
    file: BoundedFile
    transfer_syntax: str
    pixel_tag: int = 0
    pixel_vr: str = ""
    pixel_length: int = 0


@contextmanager
def open_dicom(source: Path | BinaryIO, keywords: Sequence[str] = KEYWORDS) -> Iterator[DicomFile]:
    """Open a file, or take one that is open and close it at the end, and read its header.

    Args:
        keywords: of the attributes that are read; no other is.

    Raises:
        ImageError: "unreadable", "bad_header" (not parseable), "truncated" (ends inside the header).
    """
    ignore_warnings_of("pydicom")
    try:
        opened = source.open("rb") if isinstance(source, Path) else source
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read ({error.strerror or os.strerror(5)})") from None
    with opened:
        try:
            dicom = _parse(BoundedFile(opened), keywords)
        except ImageError:
            raise
        except OSError as error:
            if error.errno is None:  # pydicom's own, for a sequence without items where they must be
                raise ImageError("bad_header", "a sequence in the DICOM header is broken") from None
            raise ImageError("unreadable", f"reading failed ({error.strerror})") from None
        # pydicom's parser raises whatever a broken byte leads to: struct, key, value, type, recursion errors and more.
        except Exception as error:
            raise ImageError("bad_header", f"the DICOM header cannot be parsed ({type(error).__name__})") from None
        yield dicom


def _parse(file: BoundedFile, keywords: Sequence[str]) -> DicomFile:
    stream = cast(BinaryIO, file)
    if file.read(132)[128:] != b"DICM":  # the preamble of PS3.10, 7.1 is missing
        file.seek(0)
    file.cut = False
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = str(meta.get("TransferSyntaxUID", "")).strip()
    if syntax == DeflatedExplicitVRLittleEndian:
        file = _inflated(file)
        stream = cast(BinaryIO, file)
    start = file.tell()
    implicit, little = _encoding(file, syntax)
    tags: list[BaseTag | int] = [cast(int, tag_for_keyword(keyword)) for keyword in keywords]
    header = read_dataset(stream, implicit, little, stop_when=_at_pixels, specific_tags=tags)
    implicit = bool(header.original_encoding[0])  # pydicom corrects a syntax that lies about it
    if not syntax:
        syntax = (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian) if little else ExplicitVRBigEndian
    dicom = DicomFile(header, file, syntax)
    _read_pixel_element(dicom, implicit, "<" if little else ">")
    if not dicom.pixel_tag and (file.cut or file.size == start):  # a whole file has a data set
        raise ImageError("truncated", "the file ends inside its header", facts=facts_of(header))
    return dicom


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >= min(PIXEL_TAGS)


def _inflated(file: BoundedFile) -> BoundedFile:
    """What follows, inflated (PS3.5, A.5), with a limit on its size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    except zlib.error:
        raise ImageError("bad_header", "the transfer syntax says that the file is deflated; it is not") from None
    if inflater.unconsumed_tail:
        raise ImageError("file_too_large", f"the deflated file grows beyond {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise ImageError("truncated", "the deflated data ends early")
    return BoundedFile(BytesIO(data))


def _encoding(file: BoundedFile, syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian) of the data set that follows, guessed from its first element if not stated.

    Raises:
        ImageError: "bad_header" when its first element has the other byte order.
    """
    start = file.tell()
    head = file.read(6)
    file.seek(start)
    # A first group of 0004 to 00FF reads as 0400 to FF00 in the wrong byte order.
    little = len(head) < 2 or struct.unpack_from("<H", head)[0] < 0x0400
    if not syntax:
        return not head[4:6].isalpha(), little
    stated: Literal["little", "big"] = "big" if syntax == ExplicitVRBigEndian else "little"
    # Nearly every data set begins with group 0008, which no file means by 0800.
    if int.from_bytes(head[:2], stated) == 0x0800:
        raise ImageError("bad_header", "the header does not have the byte order that its transfer syntax states")
    return syntax == ImplicitVRLittleEndian, stated == "little"


def _read_pixel_element(dicom: DicomFile, implicit: bool, order: str) -> None:
    """Read tag, VR and length of the element that stopped the header (PS3.5, 7.1); leaves the file at its value."""
    head = dicom.file.read(8)
    if len(head) < 8:
        return
    group, element = struct.unpack_from(order + "HH", head)
    if group << 16 | element not in PIXEL_TAGS:
        return
    dicom.pixel_tag = group << 16 | element
    if implicit:
        dicom.pixel_length = struct.unpack_from(order + "I", head, 4)[0]
        return
    dicom.pixel_vr = head[4:6].decode("latin-1")
    if dicom.pixel_vr not in ("OB", "OW", "UN", "OF", "OD"):
        raise ImageError("bad_header", "the pixel data has a VR that it cannot have", facts=facts_of(dicom.header))
    length = dicom.file.read(4)
    if len(length) < 4:
        raise ImageError("truncated", "the file ends where its pixels begin", facts=facts_of(dicom.header))
    dicom.pixel_length = struct.unpack(order + "I", length)[0]


def texts(header: Dataset, keyword: str) -> list[str]:
    """All values as stripped strings; [] when absent, unreadable or not text."""
    try:
        value = _value(header, keyword)
    except ImageError:  # a description that cannot be read is no reason to refuse the pixels
        return []
    values = value if isinstance(value, MultiValue | list) else [value]
    return [v.strip(" \0") for v in values if isinstance(v, str)]


def text(header: Dataset, keyword: str) -> str:
    """The first value as a stripped string; "" when absent, unreadable or not text."""
    return (texts(header, keyword) or [""])[0]


def numbers(header: Dataset, keyword: str) -> list[float]:
    """All values as floats; [] when absent or empty. Decimal commas and separators before or behind all are read.

    Raises:
        ImageError: "bad_header" when a value is not a number.
    """
    try:
        value = _value(header, keyword)
    except ImageError:
        value = _raw_texts(header, keyword)
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    while values and values[-1] in (None, ""):
        values.pop()
    while values and values[0] in (None, ""):
        values.pop(0)
    try:
        return [float(_with_point(v) if isinstance(v, str) else v) for v in values]
    except (TypeError, ValueError, OverflowError):
        raise ImageError("bad_header", f"{keyword} is not a number") from None


def _raw_texts(header: Dataset, keyword: str) -> list[str]:
    """The values of a decimal or integer string that pydicom could not convert, stripped."""
    value = raw_value(header, keyword)
    if dictionary_VR(keyword) not in ("DS", "IS") or not isinstance(value, bytes):
        raise ImageError("bad_header", f"{keyword} cannot be read")
    return [v.strip(" \0") for v in value.decode("latin-1").split("\\")]


# "2,048" is 2048 to half of the world and 2.048 to the other; "0,143" and "2048,5" are no thousands.
_OF_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def _with_point(number: str) -> str:
    """A decimal comma, as European systems write, made a point (PS3.5, 6.2 allows the point alone).

    Where a comma may part thousands, too, nothing is guessed: it stays, and the number is none.
    """
    is_decimal = number.count(",") == 1 and "." not in number and not _OF_THOUSANDS.fullmatch(number)
    return number.replace(",", ".") if is_decimal else number


def integer(header: Dataset, keyword: str, default: int | None = None) -> int:
    """The (first) value as an integer.

    Raises:
        ImageError: "bad_header" when it is absent and there is no default, or when it is not an integer.
    """
    found = numbers(header, keyword)
    if not found:
        if default is None:
            raise ImageError("bad_header", f"{keyword} is missing")
        return default
    if not found[0].is_integer():
        raise ImageError("bad_header", f"{keyword} is not an integer")
    return int(found[0])


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence that describes; [] when absent or unreadable."""
    try:
        return required_items(header, keyword)
    except ImageError:
        return []


def required_items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence that decides pixels; [] when absent.

    Raises:
        ImageError: "bad_header" when the value is not a sequence.
    """
    value = _value(header, keyword)
    if value is None:
        return []
    if not isinstance(value, SequenceOfItems):
        raise ImageError("bad_header", f"{keyword} is not a sequence")
    return list(value)


def binary(header: Dataset, keyword: str) -> bytes | None:
    """The value as bytes, or None when absent; words are little endian."""
    value = _value(header, keyword)
    if value is None or isinstance(value, bytes):
        return value
    try:
        values = value if isinstance(value, MultiValue | list) else [value]
        return np.asarray(values, dtype="<i8").astype("<u2").tobytes()
    except (TypeError, ValueError, OverflowError):
        raise ImageError("bad_header", f"{keyword} is not binary data") from None


def raw_value(header: Dataset, keyword: str) -> Any:
    """The value as it stands in the file, bytes where it was not converted yet; None when absent."""
    tag = tag_for_keyword(keyword)
    return next((element.value for found, element in header.items() if found == tag), None)


def _value(header: Dataset, keyword: str) -> Any:
    try:
        return header.get(keyword)
    # Values are converted on access, and a broken one raises whatever its converter leads to.
    except Exception as error:
        raise ImageError("bad_header", f"{keyword} cannot be read ({type(error).__name__})") from None


def facts_of(header: Dataset) -> Facts:
    """The facts of the prediction table; a fact that cannot be read is empty."""
    return Facts(
        modality=_fact(header, "Modality"),
        view_position=_fact(header, "ViewPosition"),
        photometric_interpretation=_fact(header, "PhotometricInterpretation"),
        study_instance_uid=_fact(header, "StudyInstanceUID"),
        series_instance_uid=_fact(header, "SeriesInstanceUID"),
        sop_instance_uid=_fact(header, "SOPInstanceUID"),
    )


def _fact(header: Dataset, keyword: str) -> str:
    """One line of printable text of at most 64 characters, the longest that PS3.5, 6.2 allows for UI, CS and LO."""
    return "".join(c for c in text(header, keyword) if c.isprintable())[:64]
