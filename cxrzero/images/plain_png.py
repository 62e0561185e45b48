"""8-bit grey PNG files, as archives hold them by the million, read straight into an array.

libpng takes three quarters of the time that Pillow takes for the same pixels, and Pillow's are copied twice more on
their way into an array. Only files whose every chunk is known to leave the pixels as they are stored come this way;
whatever is unusual, damaged or refused is left to Pillow, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import imagecodecs

from cxrzero.images.radiograph import GreyImage

# PNG (third edition), 11.2.1: bit depth 8, greyscale, the one compression and filter method, not interlaced.
_PLAIN_HEADER = bytes((8, 0, 0, 0, 0))
_FIRST_CHUNK = 8  # after the signature
_AROUND_DATA = 12  # length, type and CRC of a chunk
# Chunks that say how to show the pixels or where they come from. Not here: tRNS (transparency), acTL (animation),
# and eXIf, tEXt, zTXt and iTXt, which may hold an orientation.
_HARMLESS = frozenset(
    {b"IHDR", b"IDAT", b"IEND", b"bKGD", b"cHRM", b"gAMA", b"hIST", b"iCCP", b"pHYs", b"sBIT", b"sRGB", b"tIME"}
)


def read_plain_png(data: bytes) -> GreyImage | None:
    """(H, W) uint8 as stored, bit for bit what Pillow gives; None for a file that has to be read by Pillow.

    Args:
        data: the whole file, whose size in pixels has been checked.
    """
    if data[24:29] != _PLAIN_HEADER or not _HARMLESS.issuperset(_chunk_types(data)):
        return None
    try:
        pixels = imagecodecs.png_decode(data)
    except RuntimeError:  # imagecodecs' PngError
        return None
    return pixels if pixels.ndim == 2 and pixels.dtype == "u1" else None


def _chunk_types(data: bytes) -> Iterator[bytes]:
    """Yield the types up to IEND; an empty one comes last where the file ends before that."""
    at, kind = _FIRST_CHUNK, b""
    while kind != b"IEND":
        kind = data[at + 4 : at + 8]
        yield kind
        if not kind:
            return
        at += _AROUND_DATA + int.from_bytes(data[at : at + 4])
