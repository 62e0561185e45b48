"""TIFF files → stored samples, of every byte order, compression, sample type and layout.

`tifffile` reads the tags and decodes the strips or tiles, each on its own; what the tags claim is checked here before
it allocates. Few kinds are left to Pillow, which has libtiff decode them to RGB: see `_is_for_pillow`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
from tifffile import TiffFile, TiffPage

from cxrzero.errors import ImageError
from cxrzero.images.codestream import read_claim
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.images.raster_samples import MAX_SAMPLE_BYTES, RasterSamples

# Values of Compression (TIFF 6.0, section 3, its supplements, and what libtiff registered).
_NONE, _OLD_JPEG, _JPEG, _JPEG_2000 = 1, 6, 7, frozenset({34712, 33005})
# How the others are decompressed, given the encoded bytes and `out`, the most that may come of them.
_CODECS = MappingProxyType(
    {
        5: "lzw_decode",
        8: "deflate_decode",
        32946: "deflate_decode",  # the number that Deflate had before
        32773: "packbits_decode",
        34925: "lzma_decode",
        50000: "zstd_decode",
    }
)
_LIBTIFF_ONLY = frozenset({2, 3, 4, 32771, _OLD_JPEG, 32809})  # CCITT (four numbers), old JPEG, ThunderScan

# PhotometricInterpretation (TIFF 6.0, section 8, and sections 16, 20 to 23).
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS: dict[int, tuple[Literal["grey", "rgb", "cmyk", "palette"], int]] = {
    _WHITE_IS_ZERO: ("grey", 1), _BLACK_IS_ZERO: ("grey", 1), _RGB: ("rgb", 3), _PALETTE: ("palette", 1),
    _CMYK: ("cmyk", 4), _YCBCR: ("rgb", 3),
}  # fmt: skip

_ORIENTATION, _COLOR_MAP, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PHOTOMETRIC = 274, 320, 332, 338, 339, 262
_OFFSETS_AND_COUNTS = frozenset({273, 279, 324, 325})  # of strips and of tiles
_PLANES = 2  # PlanarConfiguration: every band by itself
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # SampleFormat
_PREMULTIPLIED, _STRAIGHT = 1, (2, 999)  # ExtraSamples; Corel Draw wrote 999

# tifffile makes a Python integer of each. Four planes with a strip for each row of a film of 65535 rows have fewer.
_MOST_SEGMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """The first page: what is stored, its Orientation, and whether more pages follow."""

    stored: RasterSamples
    orientation: int
    is_multi_page: bool


def read_tiff(data: bytes, max_pixels: int) -> TiffPicture | None:
    """The first page of a TIFF or BigTIFF file; None for a kind that Pillow has to read.

    Raises:
        ImageError: "too_many_pixels", "truncated", "unsupported_image".
        ValueError, RuntimeError and what else tifffile and imagecodecs raise: the file is broken.
    """
    ignore_warnings_of("tifffile")
    _check_directory(data)
    # Formats of microscopes, of which tifffile would visit every page before the first is looked at.
    with TiffFile(io.BytesIO(data), is_lsm=False, is_scanimage=False, is_ndpi=False) as file:
        page = file.pages.first
        if _is_for_pillow(page):
            return None
        _check(page, max_pixels)
        samples = _samples(page, data)
        orientation = page.tags.valueof(_ORIENTATION, 1)
        return TiffPicture(_meaning(page, samples), orientation, _has_second_page(file))


def _check_directory(data: bytes) -> None:
    """Refuse, before tifffile reads them, more strips or tiles than a picture can have (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = (
        struct.unpack_from(order + "H", data, 2)[0] == 43
    )  # BigTIFF: 8 bytes where TIFF has 4, and 8 for a count of tags
    size, kind = (20, "Q") if is_big else (12, "I")
    start = struct.unpack_from(order + kind, data, 8 if is_big else 4)[0]
    count = struct.unpack_from(order + ("Q" if is_big else "H"), data, start)[0]
    first = start + (8 if is_big else 2)
    for at in range(first, min(first + count * size, len(data) - size), size):
        tag, _, values = struct.unpack_from(f"{order}HH{kind}", data, at)
        if tag in _OFFSETS_AND_COUNTS and values > _MOST_SEGMENTS:
            raise ImageError("corrupt_image", f"the TIFF file claims {values} strips or tiles")


def _is_for_pillow(page: TiffPage) -> bool:
    """Fax and other encodings of old; YCbCr that is not JPEG's own, whose chroma libtiff enlarges."""
    if page.compression in _LIBTIFF_ONLY:
        return True
    return page.photometric == _YCBCR and (page.compression != _JPEG or page.planarconfig == _PLANES)


def _has_second_page(file: TiffFile) -> bool:
    try:
        return bool(file.pages[1])
    except IndexError:
        return False


def _check(page: TiffPage, max_pixels: int) -> None:
    """Refuse what is not read, or is more than a film can be, before anything is allocated."""
    width, height, bands, bits = page.imagewidth, page.imagelength, page.samplesperpixel, page.bitspersample
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"the image claims {width} × {height} pixels")
    if not (width and height and bands):
        raise ImageError("corrupt_image", "the TIFF file states no size")
    if not isinstance(bits, int) or page.dtype is None or page.dtype.kind not in "biuf":
        raise ImageError("unsupported_image", "TIFF samples are read as integers or floating point, of one size")
    if bits > 16 and bits not in (32, 64):
        raise ImageError("unsupported_image", f"TIFF samples of {bits} bits are not read")
    if page.compression not in {_NONE, _JPEG, *_JPEG_2000, *_CODECS}:
        raise ImageError("unsupported_image", f"TIFF compression {int(page.compression)} is not read")
    if page.compression == _NONE and page.predictor != 1:
        raise ImageError("unsupported_image", "a TIFF predictor without compression is read in two ways; save it anew")
    if page.predictor != 1 and bits not in (8, 16, 32, 64):
        raise ImageError("unsupported_image", f"a TIFF predictor over samples of {bits} bits is not read")
    if page.imagedepth != 1 or page.is_ndpi:
        raise ImageError("unsupported_image", "volumes and whole slides are not radiographs")
    rows, columns = _segment_shape(page)
    padded = ceil(height / rows) * rows * ceil(width / columns) * columns
    if padded * bands * page.dtype.itemsize > MAX_SAMPLE_BYTES:
        raise ImageError("too_many_pixels", f"the samples would fill more than {MAX_SAMPLE_BYTES} bytes")


def _segment_shape(page: TiffPage) -> tuple[int, int]:
    """Rows and columns of a tile or of a whole strip."""
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    else:
        rows, columns = page.rowsperstrip, page.imagewidth
    if not (rows and columns):
        raise ImageError("corrupt_image", "the TIFF file states no size of its strips or tiles")
    return rows, columns


def _samples(page: TiffPage, data: bytes) -> npt.NDArray[Any]:
    """(H, W, bands), decoded strip by strip or tile by tile."""
    planes, _, height, width, bands = page.shaped
    samples = np.empty((planes, height, width, bands), page.dtype)
    compression, fill_order = page.compression, page.fillorder
    if compression in _CODECS:
        page.compression = _NONE  # `page.decode` is given what has been decompressed here, within its bounds
    page.fillorder = 1
    for index, content in enumerate(_segments(page, data, compression, fill_order)):
        segment, (plane, _, top, left, _), _ = page.decode(content, index, jpegtables=page.jpegtables)
        if segment is None or segment.dtype != samples.dtype:
            raise ImageError("corrupt_image", "the TIFF's strips hold other samples than its header says")
        part = segment[0, : height - top, : width - left]
        samples[plane, top : top + part.shape[0], left : left + part.shape[1]] = part
    return samples[0] if planes == 1 else np.ascontiguousarray(np.moveaxis(samples[..., 0], 0, -1))


def _segments(page: TiffPage, data: bytes, compression: int, fill_order: int) -> Iterator[bytes]:
    """The bytes of every strip or tile, in order, decompressed unless they are JPEG's or JPEG 2000's.

    Byte counts of what is not compressed follow from its size; files are seen that state others, or none.
    """
    planes, _, height, width, bands = page.shaped
    rows, columns = _segment_shape(page)
    row_bytes = ceil(columns * bands * page.bitspersample / 8)
    down = ceil(height / rows)
    for index in range(planes * down * ceil(width / columns)):
        offset = page.dataoffsets[index] if index < len(page.dataoffsets) else 0
        size = row_bytes * (rows if page.is_tiled else min(rows, height - index % down * rows))
        count = size
        if compression != _NONE:
            count = page.databytecounts[index] if index < len(page.databytecounts) else 0
        content = data[offset : offset + count]
        if not (offset and content):
            raise _truncated()
        if compression not in (_NONE, *_CODECS):
            _check_code_stream(content, page, rows * columns)
            yield content
            continue
        if fill_order == 2:  # the first bit is each byte's lowest
            content = bytes(imagecodecs.bitorder_decode(content))
        if compression in _CODECS:
            # The last strip may have been written as long as the others; a run of PackBits has 128 bytes at most.
            content = _decompressed(content, compression, rows * row_bytes + 128, is_cut=offset + count > len(data))
        if len(content) < size:
            raise _truncated()
        yield content


def _decompressed(encoded: bytes, compression: int, most: int, is_cut: bool) -> bytes:
    try:
        return bytes(getattr(imagecodecs, _CODECS[compression])(encoded, out=most))
    except RuntimeError:  # the base of what imagecodecs raises
        if is_cut:
            raise _truncated() from None
        raise


def _truncated() -> ImageError:
    return ImageError("truncated", "strips or tiles of the TIFF file are missing, or end before their last row")


def _check_code_stream(stream: bytes, page: TiffPage, most_pixels: int) -> None:
    claim = read_claim(stream)
    is_as_stated = (claim.samples, claim.bits) == (page.shaped[4], page.bitspersample)
    if not is_as_stated or claim.rows * claim.columns > most_pixels:
        raise ImageError("corrupt_image", "the TIFF's compressed pixels are not what its header says")


def _meaning(page: TiffPage, samples: npt.NDArray[Any]) -> RasterSamples:
    """Colour and transparency, by PhotometricInterpretation and ExtraSamples (TIFF 6.0, sections 8 and 18)."""
    photometric = page.tags.valueof(_PHOTOMETRIC)
    if photometric is None:
        raise ImageError("unsupported_image", "the TIFF file does not say whether 0 is black or white")
    if photometric not in _COLOURS or (photometric == _CMYK and page.tags.valueof(_INK_SET, 1) != 1):
        raise ImageError("unsupported_image", f"TIFF colours of kind {int(photometric)} are not read")
    colour, bands = _COLOURS[photometric]
    surplus = samples.shape[2] - bands
    extra = page.tags.valueof(_EXTRA_SAMPLES, (_STRAIGHT[0],) if surplus == 1 else ())
    first = (extra if isinstance(extra, tuple) else (extra,))[:1]
    alpha: Literal["straight", "premultiplied"] | None = None
    if surplus < 0:
        raise ImageError("corrupt_image", "the TIFF file has fewer bands than its colours need")
    if surplus and first in ((_STRAIGHT[0],), (_STRAIGHT[1],)):
        alpha = "straight"
    elif surplus and first == (_PREMULTIPLIED,):
        alpha = "premultiplied"
    palette = _palette(page) if colour == "palette" else None
    kept = samples[..., : bands + (alpha is not None)]
    return RasterSamples(kept, page.bitspersample, colour, photometric == _WHITE_IS_ZERO, alpha, palette)


def _palette(page: TiffPage) -> npt.NDArray[np.uint8]:
    """(2^bits, 3) from ColorMap's 16-bit values; one that stays below 256 was written with 8 bits, as libtiff says."""
    table = np.asarray(page.tags.valueof(_COLOR_MAP, ()), np.int64)
    if table.size != 3 << page.bitspersample or page.dtype is None or page.dtype.kind not in "bu":
        raise ImageError("corrupt_image", "the TIFF's palette is missing, or not as long as its samples need")
    table = table.reshape(3, -1).T
    return (table if table.max() < 256 else table // 256).astype(np.uint8)
