"""The pixel data of an open DICOM file → one array of samples per frame, read as the caller asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrzero.errors import ImageError
from cxrzero.images.codecs import DECODERS, RLE_LOSSLESS, DecodeFrame, Frame, FrameShape, decode_frame, is_compressed
from cxrzero.images.codestream import begins_stream
from cxrzero.images.dicom_file import PIXEL_DATA, UNDEFINED_LENGTH, DicomFile, integer, text
from cxrzero.images.encapsulation import ITEM, frame_streams
from cxrzero.images.stored import StoredBits

Samples = npt.NDArray[Any]

_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian}
)
# Every standard transfer syntax that is decoded, uncompressed ones first; a deflated one says so of the whole data set.
TRANSFER_SYNTAXES = (
    str(ExplicitVRLittleEndian),
    str(ImplicitVRLittleEndian),
    *DECODERS,
    RLE_LOSSLESS,
    str(ExplicitVRBigEndian),
    str(DeflatedExplicitVRLittleEndian),
)
_ALLOCATED = frozenset({1, 8, 16, 32})
# Of General Electric: implicit little endian but for its pixels. GDCM and dcmtk know it, too.
_GE_BIG_ENDIAN_PIXELS = "1.2.840.113619.5.2"


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The Image Pixel module (PS3.3, C.7.6.3), checked: every number is in its range and fits the others."""

    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    bits_allocated: int
    stored: StoredBits
    planar: bool

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames where they are not compressed (PS3.5, 8.1.1, and annex A)."""
        return (self.frame_samples * self.bits_allocated * self.frames + 7) // 8

    @property
    def frame_samples(self) -> int:
        # 4:2:2 stores Y Y Cb Cr for two pixels (C.7.6.3.1.2): two samples per pixel.
        return self.rows * self.columns * (2 if self.is_422 else self.samples)

    @property
    def is_422(self) -> bool:
        return self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and self.samples == 3


def read_layout(dicom: DicomFile, max_pixels: int) -> PixelLayout:
    """Read and check the layout; nothing is allocated before.

    Raises:
        ImageError: "bad_header", "unsupported_pixels", "too_many_pixels".
    """
    header = dicom.header
    if dicom.pixel_tag != PIXEL_DATA:
        raise ImageError("unsupported_pixels", "floating point pixels are not those of a radiograph")
    allocated = integer(header, "BitsAllocated")
    layout = PixelLayout(
        rows=integer(header, "Rows"),
        columns=integer(header, "Columns"),
        samples=integer(header, "SamplesPerPixel", 1),
        frames=integer(header, "NumberOfFrames", 1) or 1,
        photometric=_photometric(header),
        bits_allocated=allocated,
        stored=_stored_bits(dicom, allocated if allocated in _ALLOCATED else 16),
        planar=integer(header, "PlanarConfiguration", 0) == 1,
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise ImageError("bad_header", "Rows, Columns or NumberOfFrames is not positive")
    if layout.samples not in (1, 3):
        raise ImageError("unsupported_pixels", "SamplesPerPixel is neither 1 nor 3")
    if allocated not in _ALLOCATED and _in_words(dicom):
        layout = _odd_words(dicom, layout)
    if layout.rows * layout.columns * layout.frames > max_pixels:
        raise ImageError(
            "too_many_pixels",
            f"the header claims {layout.rows} × {layout.columns} pixels × {layout.frames} frames; "
            f"the limit is {max_pixels}",
        )
    return layout


def _odd_words(dicom: DicomFile, layout: PixelLayout) -> PixelLayout:
    """Bits Allocated of 9 to 15, as dcmtk and GDCM read them: words of 16 bits, or 12-bit samples without a gap."""
    words = replace(layout, bits_allocated=16)
    if 8 < layout.bits_allocated < 16 and dicom.pixel_length >= words.native_bytes:
        return words
    if layout.bits_allocated == 12 and dicom.transfer_syntax != RLE_LOSSLESS:
        return layout
    raise ImageError("unsupported_pixels", "BitsAllocated is none of 1, 8, 12, 16 and 32")


def _in_words(dicom: DicomFile) -> bool:
    """Whether samples stand in words of Bits Allocated; a code stream has none."""
    return dicom.pixel_length != UNDEFINED_LENGTH or dicom.transfer_syntax == RLE_LOSSLESS


def _photometric(header: Dataset) -> str:
    name = text(header, "PhotometricInterpretation").upper()
    return name.replace(" ", "") if name.startswith("MONOCHROME") else name  # "MONOCHROME 2"


def _stored_bits(dicom: DicomFile, allocated: int) -> StoredBits:
    """How the header says that samples are stored, checked."""
    header = dicom.header
    stored = integer(header, "BitsStored", allocated)
    high_bit = integer(header, "HighBit", stored - 1)
    if stored == allocated:
        high_bit = stored - 1  # the only one that can be
    if not 1 <= stored <= 32 or (_in_words(dicom) and not stored <= high_bit + 1 <= allocated):
        raise ImageError("bad_header", "BitsStored, HighBit and BitsAllocated contradict each other")
    return StoredBits(stored, high_bit + 1 - stored, integer(header, "PixelRepresentation", 0) == 1)


def read_frames(
    dicom: DicomFile, layout: PixelLayout, least_side: int | None = None, decoder: DecodeFrame = decode_frame
) -> Iterator[Frame]:
    """Decode each frame; samples are (rows, columns) or (rows, columns, 3) integers as allocated.

    `decoder` decodes those that are compressed; with `least_side` they may come at a fraction of their size.

    Compressed pixels that state a length, and uncompressed ones in a compressed transfer syntax or one that is not
    known, are read as GDCM and dcmtk read them.

    Raises:
        ImageError: "truncated", "corrupt_codestream", "size_mismatch", "unsupported_transfer_syntax".
    """
    start = dicom.file.tell()
    head = dicom.file.read(12)
    dicom.file.seek(start)
    items = head[:4] == ITEM
    if dicom.pixel_length == UNDEFINED_LENGTH:
        if len(head) < 8:
            raise ImageError("truncated", "the file ends where its pixels begin")
        if not items:
            raise ImageError("corrupt_codestream", "the pixel data states no length and has no fragments")
        if dicom.transfer_syntax in _NATIVE:
            raise ImageError("corrupt_codestream", "the pixels are compressed, the transfer syntax says they are not")
        return _encapsulated_frames(dicom, layout, least_side, decoder)
    if is_compressed(dicom.transfer_syntax) and (items or begins_stream(head)):
        return _encapsulated_frames(dicom, layout, least_side, decoder)
    if dicom.transfer_syntax not in _NATIVE and dicom.pixel_length - layout.native_bytes not in (0, 1):
        if is_compressed(dicom.transfer_syntax):
            why = "the transfer syntax says that the pixels are compressed; they are not"
            raise ImageError("corrupt_codestream", why)
        known = f"the transfer syntax {dicom.transfer_syntax[:64]} is not known"
        why = f"{known}, and uncompressed pixels would have {layout.native_bytes} bytes, not {dicom.pixel_length}"
        raise ImageError("unsupported_transfer_syntax", why)
    return _native_frames(dicom, layout)


def _native_frames(dicom: DicomFile, layout: PixelLayout) -> Iterator[Frame]:
    """Uncompressed pixels (PS3.5, 8.1 and annex A.1 to A.3)."""
    bits, needed = layout.frame_samples * layout.bits_allocated, layout.native_bytes
    left = dicom.file.size - dicom.file.tell()
    if min(left, dicom.pixel_length) < needed:
        raise ImageError(
            "truncated", f"the pixels need {needed} bytes, the file has {min(left, dicom.pixel_length)} of them"
        )
    if layout.bits_allocated in (1, 12):
        yield from (_bit_frames if layout.bits_allocated == 1 else _packed_frames)(dicom.file.read(needed), layout)
        return
    big = dicom.transfer_syntax in (ExplicitVRBigEndian, _GE_BIG_ENDIAN_PIXELS)
    # Big endian 8-bit pixels stored as OW are swapped in pairs (PS3.5, 7.3): read to an even length and swap back.
    swap = big and layout.bits_allocated == 8 and dicom.pixel_vr == "OW"
    dtype = np.dtype(f"{'>' if big else '<'}u{layout.bits_allocated // 8}")
    whole = dicom.file.read(min(needed + needed % 2, left)) if swap else b""
    for i in range(layout.frames):
        if swap:
            swapped = np.frombuffer(whole, np.uint16, len(whole) // 2).byteswap().view(np.uint8)
            flat = swapped[i * layout.frame_samples : (i + 1) * layout.frame_samples]
        else:
            flat = np.frombuffer(dicom.file.read(bits // 8), dtype)
        yield Frame(_shaped(flat, layout), "numpy")


def _bit_frames(data: bytes, layout: PixelLayout) -> Iterator[Frame]:
    """One bit per pixel, lowest bit first, frames not aligned to bytes (PS3.5, 8.1.1)."""
    size = layout.rows * layout.columns * layout.samples
    for i in range(layout.frames):
        start = i * size // 8
        bits = np.unpackbits(np.frombuffer(data[start : ((i + 1) * size + 7) // 8], np.uint8), bitorder="little")
        yield Frame(_shaped(bits[i * size - start * 8 :][:size], layout), "numpy")


def _packed_frames(data: bytes, layout: PixelLayout) -> Iterator[Frame]:
    """Two samples of 12 bits in three bytes, lowest bit first, frames not aligned to bytes (ACR-NEMA 2.0)."""
    low, middle, high = np.frombuffer(data + bytes(-len(data) % 3), np.uint8).reshape(-1, 3).astype(np.uint16).T
    samples = np.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], axis=-1).ravel()
    for i in range(layout.frames):
        yield Frame(_shaped(samples[i * layout.frame_samples :][: layout.frame_samples], layout), "numpy")


def _shaped(flat: Samples, layout: PixelLayout) -> Samples:
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if layout.is_422:
        if layout.columns % 2:
            raise ImageError("bad_header", "4:2:2 pixels need an even number of columns")
        pairs = flat.reshape(layout.rows, layout.columns // 2, 4)
        chroma = np.repeat(pairs[..., 2:], 2, axis=1)
        luminance = pairs[..., :2].reshape(layout.rows, layout.columns, 1)
        return np.concatenate([luminance, chroma], axis=-1)
    if layout.planar:
        return flat.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.rows, layout.columns, 3)


def _encapsulated_frames(
    dicom: DicomFile, layout: PixelLayout, least_side: int | None, decoder: DecodeFrame
) -> Iterator[Frame]:
    shape = FrameShape(
        layout.rows, layout.columns, layout.samples, layout.bits_allocated,
        is_rgb=layout.photometric == "RGB", signed=layout.stored.signed,
    )  # fmt: skip
    for stream in frame_streams(dicom, layout.frames):
        yield decoder(stream, dicom.transfer_syntax, shape, least_side)
