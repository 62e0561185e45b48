"""JPEG 2000 files of which Pillow would lose bits: it keeps 8 of each band of a colour, and 16 of grey.

All other JPEG 2000 files are Pillow's. What the code stream claims is checked before OpenJPEG allocates it.
"""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np

from cxrzero.errors import ImageError
from cxrzero.images.codestream import read_claim
from cxrzero.images.raster_samples import MAX_SAMPLE_BYTES, RasterSamples

# SOC and SIZ (ISO/IEC 15444-1, A.4.1 and A.5.1): Csiz is at 40, then a depth and two subsampling factors a component.
_START, _BANDS_AT = b"\xff\x4f\xff\x51", 40
_KEPT_OF_COLOUR, _KEPT_OF_GREY = 8, 16
# No film is deeper, and OpenJPEG, which computes in 32 bits, needs some to spare.
_MOST_BITS = 24
_OPENJPEG_BYTES = 4  # a sample, while it decodes
# EnumCS of a colour specification box (15444-1, I.5.3.3): sRGB, greyscale.
_READ_SPACES = frozenset({16, 17})


def read_deep_jpeg2000(data: bytes, max_pixels: int) -> RasterSamples | None:
    """The samples of such a file as stored; None for a file that Pillow reads without loss.

    Raises:
        ImageError: "too_many_pixels", "truncated", "unsupported_image".
        RuntimeError: imagecodecs cannot decode the stream.
    """
    start = data.find(_START)
    components = _components(data, start) if start >= 0 else []
    bits = max(((depth & 0x7F) + 1 for depth, _, _ in components), default=0)
    if bits <= (_KEPT_OF_COLOUR if len(components) > 1 else _KEPT_OF_GREY):
        return None
    if bits > _MOST_BITS:
        raise ImageError("unsupported_image", f"JPEG 2000 samples of {bits} bits are not read")
    if len(components) > 4 or len(set(components)) > 1 or components[0][1:] != (1, 1):
        raise ImageError("unsupported_image", "deep JPEG 2000 colours need up to four bands of one depth and size")
    if not _READ_SPACES.issuperset(_colour_spaces(data[:start])):
        raise ImageError("unsupported_image", "deep JPEG 2000 colours are read as grey or RGB only")
    claim = read_claim(_code_stream(data, start))
    pixels = claim.rows * claim.columns
    if pixels > max_pixels or pixels * len(components) * _OPENJPEG_BYTES > MAX_SAMPLE_BYTES:
        raise ImageError("too_many_pixels", f"the image claims {claim.columns} × {claim.rows} pixels")
    samples = np.asarray(imagecodecs.jpeg2k_decode(data))
    samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
    if samples.shape != (claim.rows, claim.columns, claim.samples):
        raise ImageError("corrupt_image", "the JPEG 2000 pixels are not what their header says")
    return RasterSamples(samples, claim.bits, "rgb" if len(components) > 2 else "grey",
                  alpha="straight" if len(components) in (2, 4) else None)  # fmt: skip


def _components(data: bytes, start: int) -> list[tuple[int, int, int]]:
    """Read for each band: bits − 1 (128 more when signed), and how far apart its samples lie across and down."""
    try:
        count = struct.unpack_from(">H", data, start + _BANDS_AT)[0]
        return [struct.unpack_from(">3B", data, start + _BANDS_AT + 2 + 3 * band) for band in range(count)]
    except struct.error:
        raise ImageError("truncated", "the JPEG 2000 file ends inside its header") from None


def _colour_spaces(boxes: bytes) -> set[int]:
    """EnumCS of the colour specification boxes in front of the code stream that have one."""
    found, at = set(), boxes.find(b"colr")
    while at >= 0:
        if boxes[at + 4 : at + 5] == b"\x01" and len(boxes) >= at + 11:
            found.add(int.from_bytes(boxes[at + 7 : at + 11]))
        at = boxes.find(b"colr", at + 4)
    return found


def _code_stream(data: bytes, start: int) -> bytes:
    """Cut out the stream from SOC to the end of its box; other boxes may follow."""
    if data[start - 4 : start] != b"jp2c":
        return data[start:]
    length = int.from_bytes(data[start - 8 : start - 4])  # with its own 8 bytes; 0: to the end of the file
    return data[start : start - 8 + length] if length > 8 else data[start:]
