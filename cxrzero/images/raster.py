"""PNG, JPEG, TIFF, BMP, GIF, WebP and JPEG 2000 files → one grey picture.

8-bit pictures keep their values: Pillow's "L" conversion (ITU-R 601-2 luma) and nothing else, which is what the
reference system of the field does. Deeper pictures keep their depth until their range is mapped to 8 bits.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxrzero.errors import ImageError
from cxrzero.images.chain import GreyLevels, apply_range, luma, to_grey
from cxrzero.images.codestream import read_claim
from cxrzero.images.flags import pixel_flags
from cxrzero.images.plain_png import read_plain_png
from cxrzero.images.quiet import ignore_warnings_of
from cxrzero.images.radiograph import DecodeOptions, GreyImage, Radiograph, Step
from cxrzero.images.sniff import Kind

# The formats that content detection knows, by Pillow's names; nothing else is tried on a hostile file.
_PILLOW_FORMAT = {
    "png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "webp": "WEBP", "jp2": "JPEG2000",
    "j2k": "JPEG2000",
}  # fmt: skip

# No film needs more: a 43 × 43 cm detector at 100 µm is 18.5 million pixels, 37 MB; scanned colour films reach 300 MB.
MAX_FILE_BYTES = 512 * 1024 * 1024
# libjpeg's scaled decoding knows 1/2, 1/4 and 1/8.
MAX_HALVINGS = 3

# What Pillow raises on broken files, besides OSError: struct, index and type errors from its parsers in Python.
_BROKEN = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, AttributeError, EOFError, MemoryError,
           OverflowError, RuntimeError, ZeroDivisionError, Image.DecompressionBombError)  # fmt: skip


def decode_raster(path: Path, kind: Kind, options: DecodeOptions) -> Radiograph:
    """Decode the first page of a raster file.

    Returns:
        Radiograph with pixels (H, W) uint8, upright by its EXIF orientation; transparent pixels are black.

    Raises:
        ImageError: "truncated", "corrupt_image", "too_many_pixels", "file_too_large" or "unreadable".
    """
    ignore_warnings_of("PIL")
    data = _read(path)
    if kind == "jpeg":
        read_claim(data)
    try:
        with Image.open(io.BytesIO(data), formats=[_PILLOW_FORMAT[kind]]) as image:
            return _radiograph(image, data, options)
    except Image.DecompressionBombError:
        raise ImageError("too_many_pixels", "the image claims more pixels than any radiograph has") from None
    except UnidentifiedImageError:
        raise ImageError("corrupt_image", f"the {kind.upper()} header is broken or of an unsupported kind") from None
    except _BROKEN as error:
        # Pillow has no type of its own for a file that is cut off.
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        what = "the file ends before its last pixel" if cut else f"the {kind.upper()} file is broken"
        raise ImageError("truncated" if cut else "corrupt_image", what) from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError("file_too_large", f"the file is larger than {MAX_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ImageError("unreadable", f"the file cannot be read ({error.strerror or os.strerror(5)})") from None


def _radiograph(image: Image.Image, data: bytes, options: DecodeOptions) -> Radiograph:
    if image.width * image.height > options.max_pixels:
        raise ImageError("too_many_pixels", f"the image claims {image.width} × {image.height} pixels")
    if image.format == "TIFF" and _covered(image) < image.width * image.height:
        raise ImageError("truncated", "the strips or tiles do not cover the image; Pillow would leave the rest black")
    found = {"view_unknown"}
    if image.format == "PNG" and (plain := read_plain_png(data)) is not None:
        extent = _extent(plain)
        steps = [Step("stored", {"format": "PNG", "mode": "L"}, *extent), _luma_step(extent)]
        return _finished(plain, "imagecodecs/png", steps, found, options)
    if getattr(image, "is_animated", False):
        found.add("multi_page")
        image.seek(0)
    stored_width = image.width
    if options.fast_side is not None:
        _scale_down(image, options.fast_side)
    image.load()
    stored = np.asarray(image)
    extent = _extent(stored)
    steps = [Step("stored", {"format": image.format, "mode": image.mode}, *extent)]
    if image.width != stored_width:
        steps.append(Step("fast_decode", {"from_width": stored_width, "to_width": image.width}, *extent))
    decoder = f"pillow/{image.format}"
    deep = _deep_values(image, data)
    if deep is None and image.mode == "L" and not image.has_transparency_data:  # nearly all are; one copy is enough
        pixels = _upright(stored, image.getexif().get(_ORIENTATION, 1))
        steps.append(_luma_step(extent))
    elif deep is None:
        pixels = np.asarray(_over_black(ImageOps.exif_transpose(image)))
        steps.append(_luma_step(_extent(pixels)))
    else:
        values, decoder = deep
        low, high = float(values.min()), float(values.max())
        if values.dtype == np.uint16:
            levels = GreyLevels.of(values)
            pixels = levels.picture(to_grey(apply_range(levels.raw, low, high)))
        else:
            pixels = to_grey(apply_range(values, low, high))
        steps.append(Step("range", {"low": low, "high": high}, *_extent(pixels)))
    return _finished(pixels, decoder, steps, found, options)


def _finished(
    pixels: GreyImage, decoder: str, steps: list[Step], found: set[str], options: DecodeOptions
) -> Radiograph:
    if options.invert == "yes":
        pixels = 255 - pixels
        steps.append(Step("invert", {"because": "--invert yes"}, *_extent(pixels)))
    return Radiograph(
        pixels=np.ascontiguousarray(pixels),
        flags=frozenset(found | pixel_flags(pixels)),
        decoder=decoder,
        steps=tuple(steps),
    )


def _luma_step(extent: tuple[float, float]) -> Step:
    return Step("luma", {"weights": "ITU-R 601-2"}, *extent)


def _scale_down(image: Image.Image, side: int) -> None:
    """Let the decoder leave out detail: DCT scaling of JPEG, fewer resolution levels of JPEG 2000; at most by 8."""
    if image.format == "JPEG":
        image.draft(None, (side, side))  # the smallest size with no side below these
    elif image.format == "JPEG2000":
        levels = 0
        while levels < MAX_HALVINGS and min(image.size) >> (levels + 1) >= side:
            levels += 1
        cast(Any, image).reduce = levels


def _covered(image: Image.Image) -> int:
    """Pixels that the strips or tiles of a TIFF claim to hold; each plane of a planar image counts."""
    extents = [tile[1] for tile in getattr(image, "tile", [])]
    return sum((right - left) * (lower - upper) for left, upper, right, lower in extents)


def _extent(values: np.ndarray[Any, np.dtype[Any]]) -> tuple[float, float]:
    """Lowest and highest value over all bands (Image.getextrema does not know every 16-bit mode)."""
    return float(values.min()), float(values.max())


def _over_black(image: Image.Image) -> Image.Image:
    """Mode "L"; transparent pixels become black, as padding does. Without transparency exactly `image.convert("L")`."""
    if not image.has_transparency_data:
        return image.convert("L") if image.mode != "CMYK" else image.convert("RGB").convert("L")
    image = image.convert("RGBA")
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size), image.getchannel("A")).convert("L")


# TIFF tags: BitsPerSample and PhotometricInterpretation, whose value 0 is WhiteIsZero (TIFF 6.0, section 8).
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def _deep_values(image: Image.Image, data: bytes) -> tuple[np.ndarray[Any, np.dtype[Any]], str] | None:
    """Upright grey values of more than 8 bits and their decoder, or None for an 8-bit picture.

    Pillow halves the depth of 16-bit colour; imagecodecs keeps it.
    """
    tags = getattr(image, "tag_v2", {})
    if image.mode in _DEEP_MODES:
        values, decoder = np.asarray(image), f"pillow/{image.format}"
        if tags.get(_PHOTOMETRIC) == 0:
            values = -values if values.dtype.kind == "f" else ~values  # either reverses the order of all values
    elif image.format == "PNG" and data[24] == 16:
        values, decoder = _grey_of(imagecodecs.png_decode(data)), "imagecodecs/png"
    elif image.format == "TIFF" and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        values, decoder = _grey_of(imagecodecs.tiff_decode(data, index=0)), "imagecodecs/tiff"
    else:
        return None
    if not np.isfinite(values).all():
        raise ImageError("corrupt_image", "the image holds values that are not numbers")
    return _upright(values, image.getexif().get(_ORIENTATION, 1)), decoder


def _grey_of(samples: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """(H, W, 2 to 4) samples → (H, W) luma, transparent pixels 0."""
    if samples.ndim != 3 or samples.dtype.kind != "u":
        raise ImageError("unsupported_image", "deep colour images need unsigned samples, interleaved")
    bands = samples.shape[2]
    grey = luma(samples[..., :3]) if bands >= 3 else samples[..., 0]
    if bands in (2, 4):
        grey = grey.astype(np.float64) * samples[..., -1] / np.iinfo(samples.dtype).max
    return np.asarray(grey)


# EXIF 2.32, tag 274: what must be done to see the picture upright.
_ORIENTATION = 274


def _upright(values: np.ndarray[Any, np.dtype[Any]], orientation: int) -> np.ndarray[Any, np.dtype[Any]]:
    if orientation in (5, 6, 7, 8):
        values = values.T
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values
