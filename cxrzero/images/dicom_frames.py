"""The pixel data of an open DICOM file → one array of samples per frame, read as the caller asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrzero.errors import ImageError
from cxrzero.images.codecs import FrameShape, decode_frame
from cxrzero.images.dicom_file import PIXEL_DATA, UNDEFINED_LENGTH, DicomFile, binary, integer, text

Samples = npt.NDArray[Any]

_NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian}
)


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The Image Pixel module (PS3.3, C.7.6.3), checked: every number is in its range and fits the others."""

    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool

    @property
    def shift(self) -> int:
        """Bits below the stored ones."""
        return self.high_bit + 1 - self.bits_stored


def read_layout(dicom: DicomFile, max_pixels: int) -> PixelLayout:
    """Read and check the layout; nothing is allocated before.

    Raises:
        ImageError: "bad_header", "unsupported_pixels", "too_many_pixels".
    """
    header = dicom.header
    if dicom.pixel_tag != PIXEL_DATA:
        raise ImageError("unsupported_pixels", "floating point pixels are not those of a radiograph")
    allocated = integer(header, "BitsAllocated")
    stored = integer(header, "BitsStored", allocated)
    layout = PixelLayout(
        rows=integer(header, "Rows"),
        columns=integer(header, "Columns"),
        samples=integer(header, "SamplesPerPixel", 1),
        frames=integer(header, "NumberOfFrames", 1) or 1,
        photometric=text(header, "PhotometricInterpretation").upper(),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=integer(header, "HighBit", stored - 1),
        signed=integer(header, "PixelRepresentation", 0) == 1,
        planar=integer(header, "PlanarConfiguration", 0) == 1,
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise ImageError("bad_header", "Rows, Columns or NumberOfFrames is not positive")
    if layout.bits_allocated not in (1, 8, 16, 32):
        raise ImageError("unsupported_pixels", "BitsAllocated is none of 1, 8, 16 and 32")
    if not 1 <= layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated:
        raise ImageError("bad_header", "BitsStored, HighBit and BitsAllocated contradict each other")
    if layout.samples not in (1, 3):
        raise ImageError("unsupported_pixels", "SamplesPerPixel is neither 1 nor 3")
    if layout.rows * layout.columns * layout.frames > max_pixels:
        raise ImageError(
            "too_many_pixels",
            f"the header claims {layout.rows} × {layout.columns} pixels × {layout.frames} frames; "
            f"the limit is {max_pixels}",
        )
    return layout


def read_frames(dicom: DicomFile, layout: PixelLayout) -> Iterator[tuple[Samples, str]]:
    """Each frame as (rows, columns) or (rows, columns, 3) integers as allocated, and the decoder's name.

    Raises:
        ImageError: "truncated", "corrupt_codestream", "size_mismatch", "unsupported_transfer_syntax".
    """
    encapsulated = dicom.pixel_length == UNDEFINED_LENGTH
    if dicom.transfer_syntax in _NATIVE:
        if encapsulated:
            raise ImageError("corrupt_codestream", "the pixels are compressed, the transfer syntax says they are not")
        return _native_frames(dicom, layout)
    if not encapsulated:
        raise ImageError("corrupt_codestream", "the transfer syntax says that the pixels are compressed; they are not")
    return _encapsulated_frames(dicom, layout)


def _native_frames(dicom: DicomFile, layout: PixelLayout) -> Iterator[tuple[Samples, str]]:
    """Uncompressed pixels (PS3.5, 8.1 and annex A.1 to A.3)."""
    is_422 = layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and layout.samples == 3
    # 4:2:2 stores Y Y Cb Cr for two pixels (C.7.6.3.1.2): two samples per pixel.
    samples = layout.rows * layout.columns * (2 if is_422 else layout.samples)
    bits = samples * layout.bits_allocated
    needed = (bits * layout.frames + 7) // 8
    left = dicom.file.size - dicom.file.tell()
    if min(left, dicom.pixel_length) < needed:
        raise ImageError(
            "truncated", f"the pixels need {needed} bytes, the file has {min(left, dicom.pixel_length)} of them"
        )
    if layout.bits_allocated == 1:
        yield from _bit_frames(dicom.file.read(needed), layout)
        return
    big = dicom.transfer_syntax == ExplicitVRBigEndian
    # Big endian 8-bit pixels stored as OW are swapped in pairs (PS3.5, 7.3): read to an even length and swap back.
    swap = big and layout.bits_allocated == 8 and dicom.pixel_vr == "OW"
    dtype = np.dtype(f"{'>' if big else '<'}u{layout.bits_allocated // 8}")
    whole = dicom.file.read(min(needed + needed % 2, left)) if swap else b""
    for i in range(layout.frames):
        if swap:
            swapped = np.frombuffer(whole, np.uint16, len(whole) // 2).byteswap().view(np.uint8)
            flat = swapped[i * samples : (i + 1) * samples]
        else:
            flat = np.frombuffer(dicom.file.read(bits // 8), dtype)
        yield _shaped(flat, layout, is_422), "numpy"


def _bit_frames(data: bytes, layout: PixelLayout) -> Iterator[tuple[Samples, str]]:
    """One bit per pixel, lowest bit first, frames not aligned to bytes (PS3.5, 8.1.1)."""
    size = layout.rows * layout.columns * layout.samples
    for i in range(layout.frames):
        start = i * size // 8
        bits = np.unpackbits(np.frombuffer(data[start : ((i + 1) * size + 7) // 8], np.uint8), bitorder="little")
        yield _shaped(bits[i * size - start * 8 :][:size], layout, False), "numpy"


def _shaped(flat: Samples, layout: PixelLayout, is_422: bool) -> Samples:
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if is_422:
        if layout.columns % 2:
            raise ImageError("bad_header", "4:2:2 pixels need an even number of columns")
        pairs = flat.reshape(layout.rows, layout.columns // 2, 4)
        chroma = np.repeat(pairs[..., 2:], 2, axis=1)
        luminance = pairs[..., :2].reshape(layout.rows, layout.columns, 1)
        return np.concatenate([luminance, chroma], axis=-1)
    if layout.planar:
        return flat.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.rows, layout.columns, 3)


def _encapsulated_frames(dicom: DicomFile, layout: PixelLayout) -> Iterator[tuple[Samples, str]]:
    shape = FrameShape(
        layout.rows, layout.columns, layout.samples, layout.bits_allocated, is_rgb=layout.photometric == "RGB"
    )
    offsets = binary(dicom.header, "ExtendedOffsetTable")
    lengths = binary(dicom.header, "ExtendedOffsetTableLengths")
    frames = generate_frames(
        cast(Any, dicom.file),
        number_of_frames=layout.frames,
        extended_offsets=(offsets, lengths) if offsets and lengths else None,
    )
    for _ in range(layout.frames):
        try:
            stream = next(frames)
        except StopIteration:
            raise ImageError("truncated", "the file holds fewer frames than its header says") from None
        # Items that contradict the stream make pydicom's parser raise several classes.
        except Exception as error:
            cut = dicom.file.cut or dicom.file.tell() >= dicom.file.size
            code = "truncated" if cut else "corrupt_codestream"
            raise ImageError(code, f"the compressed frames cannot be separated ({type(error).__name__})") from None
        if dicom.file.cut:
            raise ImageError("truncated", "the file ends inside its compressed pixels")
        yield decode_frame(stream, dicom.transfer_syntax, shape)
