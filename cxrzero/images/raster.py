"""PNG, JPEG, TIFF, BMP, GIF, WebP and JPEG 2000 files → one grey picture.

8-bit pictures keep their values: Pillow's "L" conversion (ITU-R 601-2 luma) and nothing else, which is what the
reference system of the field does. Others keep their depth until `raster_samples.py` maps their range to 8 bits.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import imagecodecs
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from cxrzero.errors import ImageError
from cxrzero.images.codestream import most_halvings, read_claim
from cxrzero.images.flags import pixel_flags
from cxrzero.images.jpeg2000 import read_deep_jpeg2000
from cxrzero.images.plain_png import read_plain_png
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.images.radiograph import DecodeOptions, GreyImage, Radiograph, Step, StoredFrame, upright
from cxrzero.images.raster_samples import RasterSamples, grey_of, over_black
from cxrzero.images.reduced import halved_jpeg2000, halvings
from cxrzero.images.sniff import Kind

if TYPE_CHECKING:
    from cxrzero.images.tiff import TiffPicture

# The formats that content detection knows, by Pillow's names; nothing else is tried on a hostile file.
_PILLOW_FORMAT = {
    "png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "jp2": "JPEG2000",
    "j2k": "JPEG2000",
}  # fmt: skip

# No film needs more: a 43 × 43 cm detector at 100 µm is 18.5 million pixels, 37 MB; scanned colour films reach 300 MB.
MAX_FILE_BYTES = 512 * 1024 * 1024
# Pillow's modes of more than 8 bits.
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

# What Pillow and tifffile raise on broken files, besides OSError: whatever their parsers in Python happen to.
BROKEN = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, AttributeError, EOFError, MemoryError,
           OverflowError, RuntimeError, ZeroDivisionError, AssertionError, struct.error,
           Image.DecompressionBombError)  # fmt: skip


def decode_raster(source: Path | bytes, kind: Kind, options: DecodeOptions) -> Radiograph:
    """Decode the first page of a raster file, or of its content.

    Returns:
        Radiograph with pixels (H, W) uint8, upright by its EXIF orientation; transparent pixels are black.

    Raises:
        ImageError: "truncated", "corrupt_image", "too_many_pixels", "file_too_large" or "unreadable".
    """
    ignore_warnings_of("PIL")
    data = _read(source)
    if kind == "jpeg":
        read_claim(data)
    try:
        return _radiograph(data, kind, options)
    except Image.DecompressionBombError:
        raise ImageError("too_many_pixels", "the image claims more pixels than any radiograph has") from None
    except UnidentifiedImageError:
        if kind == "jpeg":  # whose header has been read
            what = "JPEG-LS, and JPEG of more than 8 bits a sample, are read inside of DICOM files only"
            raise ImageError("unsupported_image", what) from None
        raise ImageError("corrupt_image", f"the {kind.upper()} header is broken or of an unsupported kind") from None
    except BROKEN as error:
        # Pillow has no type of its own for a file that is cut off.
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        what = "the file ends before its last pixel" if cut else f"the {kind.upper()} file is broken"
        raise ImageError("truncated" if cut else "corrupt_image", what) from None


def _read(source: Path | bytes) -> bytes:
    try:
        if (len(source) if isinstance(source, bytes) else source.stat().st_size) > MAX_FILE_BYTES:
            raise ImageError("file_too_large", f"the file is larger than {MAX_FILE_BYTES} bytes")
        return source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read ({error.strerror or os.strerror(5)})") from None


def _tiff(data: bytes, max_pixels: int) -> TiffPicture | None:
    from cxrzero.images.tiff import read_tiff  # tifffile is imported for a TIFF, and for no other film

    return read_tiff(data, max_pixels)


def _radiograph(data: bytes, kind: Kind, options: DecodeOptions) -> Radiograph:
    if kind == "tiff" and (tiff := _tiff(data, options.max_pixels)) is not None:
        found = {"multi_page"} if tiff.is_multi_page else set()
        return radiograph_of(tiff.stored, "TIFF", "tifffile", tiff.orientation, found, options)
    if kind in ("jp2", "j2k") and (deep := read_deep_jpeg2000(data, options.max_pixels)) is not None:
        return radiograph_of(deep, "JPEG2000", "imagecodecs/jpeg2k", 1, set(), options)
    with Image.open(io.BytesIO(data), formats=[_PILLOW_FORMAT[kind]]) as image:
        return _of_pillow(image, data, options)


def radiograph_of(
    stored: RasterSamples, file_format: str, decoder: str, orientation: int, found: set[str], options: DecodeOptions
) -> Radiograph:
    """The radiograph that stored samples are.

    Args:
        orientation: how they have to be turned, as EXIF numbers it.
        found: flags.
    """
    samples = stored.samples
    what = {"format": file_format, "samples": f"{samples.dtype} × {samples.shape[2]}", "colour": stored.colour}
    pixels, step = grey_of(stored)
    frame, steps = (
        StoredFrame(pixels.shape[0], pixels.shape[1], _known(orientation)),
        [_stored_step(what, samples), step],
    )
    return _finished(upright(pixels, _known(orientation)), frame, decoder, steps, found, options)


def _of_pillow(opened: ImageFile.ImageFile, data: bytes, options: DecodeOptions) -> Radiograph:
    if opened.width * opened.height > options.max_pixels:
        raise ImageError("too_many_pixels", f"the image claims {opened.width} × {opened.height} pixels")
    if opened.format == "TIFF" and _covered(opened) < opened.width * opened.height:
        raise ImageError("truncated", "the strips or tiles do not cover the image; Pillow would leave the rest black")
    found: set[str] = set()
    if opened.format == "PNG" and (plain := read_plain_png(data)) is not None:
        return radiograph_of(RasterSamples(plain[..., np.newaxis], 8), "PNG", "imagecodecs/png", 1, found, options)
    if getattr(opened, "is_animated", False):
        found.add("multi_page")
        opened.seek(0)
    file_format, stored_width, frame = str(opened.format), opened.width, _stored_frame(opened)
    image = opened if options.fast_side is None else _scaled_down(opened, data, options.fast_side)
    image.load()
    orientation = opened.getexif().get(_ORIENTATION, 1)
    if (deep := _deep(image, file_format, data)) is not None:
        return radiograph_of(deep[0], file_format, deep[1], orientation, found, options)
    if file_format != "TIFF":  # which Pillow has turned already
        frame = frame._replace(orientation=_known(orientation))
    return _of_eight_bits(image, file_format, frame, orientation, stored_width, found, options)


def radiograph_of_pillow(image: Image.Image, options: DecodeOptions) -> Radiograph:
    """The radiograph that a Pillow image is; the page that it shows, where it has several.

    Raises:
        ImageError: "too_many_pixels".
        Exception: whatever Pillow raises for an image that cannot be loaded.
    """
    ignore_warnings_of("PIL")
    if image.width * image.height > options.max_pixels:
        raise ImageError("too_many_pixels", f"the picture has {image.width} × {image.height} pixels")
    found = {"multi_page"} if getattr(image, "is_animated", False) else set()
    image.load()
    what, orientation = image.format or "image", image.getexif().get(_ORIENTATION, 1)
    if image.mode in _DEEP_MODES:
        stored = RasterSamples(np.asarray(image)[..., np.newaxis], 16)
        return radiograph_of(stored, what, "pillow", orientation, found, options)
    frame = StoredFrame(image.height, image.width, _known(orientation))
    return _of_eight_bits(image, what, frame, orientation, image.width, found, options)


def _of_eight_bits(
    image: Image.Image,
    what: str,
    frame: StoredFrame,
    orientation: Any,
    stored_width: int,
    found: set[str],
    options: DecodeOptions,
) -> Radiograph:
    """Of a loaded image.

    Args:
        what: its format.
        stored_width: what its file has, where it was decoded smaller.
    """
    values = np.asarray(image)
    steps = [_stored_step({"format": what, "mode": image.mode}, values)]
    if image.width != stored_width:
        steps.append(Step("fast_decode", {"from_width": stored_width, "to_width": image.width}, *_extent(values)))
    pixels = values if image.mode == "L" and not image.has_transparency_data else over_black(image)
    steps.append(Step("luma", {"weights": "ITU-R 601-2"}, *_extent(pixels)))
    return _finished(upright(pixels, _known(orientation)), frame, f"pillow/{what}", steps, found, options)


def _deep(image: Image.Image, file_format: str, data: bytes) -> tuple[RasterSamples, str] | None:
    """The samples that Pillow's 8 bits cannot hold, and their decoder; None for all others."""
    if file_format == "PNG" and _pillow_would_lose(image, data):
        samples = np.asarray(imagecodecs.png_decode(data))
        samples = samples if samples.ndim == 3 else samples[..., np.newaxis]
        bands, bits = samples.shape[2], samples.dtype.itemsize * 8
        alpha: Literal["straight"] | None = "straight" if bands in (2, 4) else None
        return RasterSamples(samples, bits, "rgb" if bands > 2 else "grey", alpha=alpha), "imagecodecs/png"
    if image.mode in _DEEP_MODES:
        return RasterSamples(np.asarray(image)[..., np.newaxis], 16), f"pillow/{file_format}"
    return None


def _pillow_would_lose(image: Image.Image, data: bytes) -> bool:
    """Pillow halves the depth of 16-bit colour, and knows a transparent grey (tRNS) of 1 and of 8 bits only."""
    bits, colour_type = data[24], data[25]
    if colour_type == 0:
        return bits in (2, 4, 16) and "transparency" in image.info
    return bits == 16


def _finished(
    pixels: GreyImage, frame: StoredFrame, decoder: str, steps: list[Step], found: set[str], options: DecodeOptions
) -> Radiograph:
    if options.invert == "yes":
        pixels = 255 - pixels
        steps.append(Step("invert", {"because": "--invert yes"}, *_extent(pixels)))
    return Radiograph(
        pixels=np.ascontiguousarray(pixels),
        flags=frozenset({"view_unknown"} | found | pixel_flags(pixels)),
        decoder=decoder,
        steps=tuple(steps),
        stored=frame,
    )


def _stored_frame(opened: ImageFile.ImageFile) -> StoredFrame:
    """Of a picture that was not loaded yet: loading turns a TIFF upright, and its size says so already."""
    tags = getattr(opened, "tag_v2", {}) if opened.format == "TIFF" else {}
    orientation = _known(tags.get(_ORIENTATION, 1))
    width, height = opened.size if orientation < 5 else opened.size[::-1]
    return StoredFrame(height, width, orientation)


def _stored_step(what: dict[str, Any], samples: np.ndarray[Any, np.dtype[Any]]) -> Step:
    return Step("stored", what, *_extent(samples))


def _scaled_down(image: ImageFile.ImageFile, data: bytes, side: int) -> Image.Image:
    """Let the decoder leave out detail: DCT scaling of JPEG, fewer resolution levels of JPEG 2000; at most by 8.

    Not of what no mean stands for: entries of a palette, and deep samples, whose range decides on the grey.
    """
    if image.format == "JPEG":
        image.draft(None, (side, side))  # the smallest size with no side below these
    elif image.format == "JPEG2000" and image.mode not in ("P", "PA", *_DEEP_MODES):
        count = min(halvings(image.size, side), most_halvings(data))
        return halved_jpeg2000(image, count) if count else image
    return image


def _covered(image: Image.Image) -> int:
    """Pixels that the strips or tiles of a TIFF claim to hold; each plane of a planar image counts."""
    extents = [tile[1] for tile in getattr(image, "tile", [])]
    return sum((right - left) * (lower - upper) for left, upper, right, lower in extents)


def _extent(values: np.ndarray[Any, np.dtype[Any]]) -> tuple[float, float]:
    """Lowest and highest value over all bands (Image.getextrema does not know every 16-bit mode)."""
    return float(values.min()), float(values.max())


# EXIF 2.32, tag 274: what must be done to see the picture upright.
_ORIENTATION = 274


def _known(orientation: Any) -> int:
    """An orientation as EXIF numbers it; whatever else a file states turns nothing."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
