"""Writes DICOM files byte by byte (PS3.5, chapter 7), so that tests may also write what no library would.

Knows nothing of the code under test. Only the dictionary of tags is taken from pydicom.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import imagecodecs
import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword

Decode = Callable[..., list[Any]]  # the fixture `decoded`: (content, options) → frames

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big_endian": "1.2.840.10008.1.2.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_baseline": "1.2.840.10008.1.2.4.50",
    "jpeg_extended": "1.2.840.10008.1.2.4.51",
    "jpeg_lossless": "1.2.840.10008.1.2.4.57",
    "jpeg_lossless_sv1": "1.2.840.10008.1.2.4.70",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "jpegls_near": "1.2.840.10008.1.2.4.81",
    "jpeg2000_lossless": "1.2.840.10008.1.2.4.90",
    "jpeg2000": "1.2.840.10008.1.2.4.91",
    "htj2k_lossless": "1.2.840.10008.1.2.4.201",
    "htj2k_rpcl": "1.2.840.10008.1.2.4.202",
    "htj2k": "1.2.840.10008.1.2.4.203",
}
NATIVE = ("implicit", "explicit", "deflated", "big_endian")
LOSSLESS = (*NATIVE, "rle", "jpeg_lossless", "jpeg_lossless_sv1", "jpegls", "jpeg2000_lossless", "htj2k_lossless",
            "htj2k_rpcl")  # fmt: skip
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_LONG = {"OB", "OW", "UN", "SQ", "UT", "OF", "OD", "OV"}
_NUMBER = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "AT": "I", "FD": "d", "OV": "Q"}


class As:
    """A value with a VR that is not the dictionary's."""

    def __init__(self, vr: str, value: Any) -> None:
        self.vr, self.value = vr, value

    def __repr__(self) -> str:  # names a test, which must be the same in every process
        return f"As({self.vr!r}, {self.value!r})"


def encode_element(tag: int, vr: str, value: Any, implicit: bool, order: str, length: int | None = None) -> bytes:
    """One data element; `length` overrides the true one."""
    body = _body(vr, value, implicit, order)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    length = len(body) if length is None else length
    if implicit:
        return head + struct.pack(order + "I", length) + body
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", length) + body
    return head + vr.encode() + struct.pack(order + "H", length) + body


def _body(vr: str, value: Any, implicit: bool, order: str) -> bytes:
    if vr == "SQ":
        items = [encode_dataset(item, implicit, order) for item in value]
        return b"".join(struct.pack(order + "HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    values = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, bytes):
        body = value
    elif vr in _NUMBER:
        body = b"".join(struct.pack(order + _NUMBER[vr], v) for v in values)
    else:
        body = "\\".join(str(v) for v in values).encode()
    return body + (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(body) % 2)


def encode_dataset(attributes: dict[str, Any], implicit: bool, order: str) -> bytes:
    elements = []
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        vr = dictionary_VR(tag).split(" or ")[0]
        if isinstance(value, As):
            vr, value = value.vr, value.value
        elements.append((tag, encode_element(tag, vr, value, implicit, order)))
    return b"".join(body for _, body in sorted(elements))


def encode_frame(pixels: np.ndarray, syntax: str, bits_stored: int) -> bytes:
    """Compress (rows, columns[, 3]) samples."""
    if syntax == "rle":
        return encode_rle(pixels)
    if pixels.dtype.kind == "i" and "2000" not in syntax and "j2k" not in syntax:
        # JPEG and JPEG-LS know no sign: the stored bits are coded as they are (PS3.5, 8.2.1 and 8.2.3).
        pixels = (pixels.astype(np.int64) & (2**bits_stored - 1)).astype(f"u{pixels.dtype.itemsize}")
    if syntax == "jpeg_baseline":
        return bytes(imagecodecs.jpeg8_encode(pixels, level=100))
    if syntax == "jpeg_extended":
        return bytes(imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=bits_stored))
    if syntax in ("jpeg_lossless", "jpeg_lossless_sv1"):
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits_stored))
    if syntax in ("jpegls", "jpegls_near"):
        return bytes(imagecodecs.jpegls_encode(pixels, level=0 if syntax == "jpegls" else 1))
    if syntax in ("jpeg2000_lossless", "jpeg2000"):
        return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=True, bitspersample=bits_stored))
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def encode_rle(pixels: np.ndarray) -> bytes:
    """PS3.5, annex G: a segment per byte plane, most significant first, as literal runs of up to 128 bytes."""
    flat = pixels.reshape(-1, 1 if pixels.ndim == 2 else pixels.shape[2])
    segments = []
    for band in range(flat.shape[1]):
        planes = flat[:, band].astype(flat.dtype.newbyteorder(">")).tobytes()
        width = flat.dtype.itemsize
        for byte in range(width):
            plane = planes[byte::width]
            runs = b"".join(
                bytes([len(plane[i : i + 128]) - 1]) + plane[i : i + 128] for i in range(0, len(plane), 128)
            )
            segments.append(runs + b"\0" * (len(runs) % 2))
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def encapsulate(frames: list[bytes]) -> bytes:
    """PS3.5, A.4: an empty offset table, an item per frame, the delimiter."""
    items = [b"", *(frame + b"\0" * (len(frame) % 2) for frame in frames)]
    body = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return body + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def dicom_bytes(
    pixels: np.ndarray | list[np.ndarray] | bytes | None,
    syntax: str = "explicit",
    *,
    preamble: bool = True,
    pixel_length: int | None = None,
    pixel_vr: str | None = None,
    **attributes: Any,
) -> bytes:
    """A whole file.

    Args:
        pixels: a frame (rows, columns[, 3]) or several; bytes are written as they are; None: no pixel data.
        syntax: key of SYNTAXES.
        preamble: False leaves preamble and file meta information out.
        pixel_length: a lie about the length of the pixel data.
        attributes: by keyword; None removes a default.
    """
    frames = pixels if isinstance(pixels, list) else [] if pixels is None or isinstance(pixels, bytes) else [pixels]
    header: dict[str, Any] = {
        "SOPClassUID": CR_STORAGE, "SOPInstanceUID": "2.25.1", "StudyInstanceUID": "2.25.2",
        "SeriesInstanceUID": "2.25.3", "Modality": "CR", "PatientName": "NOBODY^SECRET", "PatientID": "SECRET-MRN",
        "ViewPosition": "PA", "BodyPartExamined": "CHEST", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
    }  # fmt: skip
    if frames:
        bits = frames[0].dtype.itemsize * 8
        header |= {"Rows": frames[0].shape[0], "Columns": frames[0].shape[1], "BitsAllocated": bits, "BitsStored": bits,
                   "HighBit": max(attributes.get("BitsStored", bits) - 1, 0),
                   "PixelRepresentation": int(frames[0].dtype.kind == "i")}  # fmt: skip
    if len(frames) > 1:
        header["NumberOfFrames"] = len(frames)
    header = {k: v for k, v in (header | attributes).items() if v is not None}
    order: Literal[">", "<"]
    implicit, order = syntax == "implicit", ">" if syntax == "big_endian" else "<"
    body = encode_dataset(header, implicit, order)
    if pixels is not None:
        body += _pixel_element(pixels, frames, syntax, header, implicit, order, pixel_length, pixel_vr)
    if syntax == "deflated":
        deflater = zlib.compressobj(wbits=-15)
        body = deflater.compress(body) + deflater.flush()
    return (file_meta(SYNTAXES[syntax], str(header.get("SOPClassUID", ""))) if preamble else b"") + body


def _pixel_element(
    pixels: Any, frames: list[np.ndarray], syntax: str, header: dict[str, Any], implicit: bool,
    order: Literal[">", "<"],
    length: int | None, vr: str | None,
) -> bytes:  # fmt: skip
    if syntax not in NATIVE:
        data = pixels if isinstance(pixels, bytes) else encapsulate(
            [encode_frame(frame, syntax, header["BitsStored"]) for frame in frames]
        )  # fmt: skip
        return encode_element(0x7FE00010, vr or "OB", data, implicit, order, 0xFFFFFFFF if length is None else length)
    data = b"".join(f.astype(f.dtype.newbyteorder(order)).tobytes() for f in frames)
    if isinstance(pixels, bytes):
        data = pixels
    vr = vr or ("OB" if header.get("BitsAllocated") == 8 else "OW")
    data += b"\0" * (len(data) % 2)
    if vr == "OW" and header.get("BitsAllocated") == 8 and order == ">":
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    return encode_element(0x7FE00010, vr, data, implicit, order, length)


def file_meta(syntax_uid: str, sop_class: str) -> bytes:
    """Preamble, prefix and group 0002 (PS3.10, 7.1)."""
    meta = b"".join(
        encode_element(tag, "UI", uid, False, "<")
        for tag, uid in ((0x00020002, sop_class), (0x00020003, "2.25.1"), (0x00020010, syntax_uid))
    )
    return b"\0" * 128 + b"DICM" + encode_element(0x00020000, "UL", len(meta), False, "<") + meta
