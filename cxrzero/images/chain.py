"""From stored values to 8-bit grey, in pure NumPy: the equations of DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2.

The order is fixed (PS3.4, N.2): stored values → modality LUT or rescale → VOI LUT, window or range → inversion → 8 bit.
Values stay integer or float64 until `to_grey`, the one place that rounds: floor(255·y + 0.5), y in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images.radiograph import GreyImage
from cxrzero.maths import sigmoid

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table (PS3.3, C.11.1.1): `data[i]` is what `first + i` maps to, and `white` its nominal maximum."""

    first: int
    white: int
    data: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Window:
    """VOI window (PS3.3, C.11.2.1.2); centre and width in units of the modality LUT's output."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"


# `np.bincount` copies to 8 bytes a value, so it is given 2 MB of them at a time.
_BLOCK = 1 << 18
# `np.take` does too, and is three times as fast where the copy stays in the processor's cache.
_TAKEN = 1 << 16


def histogram(pixels: Values, levels: int) -> npt.NDArray[np.intp]:
    """(levels,) how often each of 0 to levels − 1 occurs among unsigned integers of any shape."""
    if pixels.dtype == np.uint8 and pixels.ndim == 2 and levels == 256:
        return np.asarray(Image.fromarray(pixels).histogram(), np.intp)
    flat, counts = pixels.reshape(-1), np.zeros(levels, np.intp)
    for start in range(0, flat.size, _BLOCK):
        counts += np.bincount(flat[start : start + _BLOCK], minlength=levels)
    return counts


@dataclass(frozen=True, slots=True)
class GreyLevels:
    """The different samples of a picture: what is done to each of them is done to all its pixels.

    Attributes:
        raw: (N,) unsigned, ascending; the samples that occur.
        counts: (N,) how many pixels have each.
    """

    raw: Values
    counts: npt.NDArray[np.intp]
    _pixels: Values

    @classmethod
    def of(cls, samples: Values) -> GreyLevels:
        """Look up (H, W) integers; a negative sample stands for its two's complement bits."""
        bits = np.ascontiguousarray(samples).view(f"{samples.dtype.byteorder}u{samples.dtype.itemsize}")
        pixels = bits.astype(bits.dtype.newbyteorder("="), copy=False)
        if pixels.dtype.itemsize > 2:
            raw, counts = np.unique(pixels, return_counts=True)
            return cls(raw, counts, pixels)
        counts = histogram(pixels, 256**pixels.dtype.itemsize)
        present = np.flatnonzero(counts)
        return cls(present.astype(pixels.dtype), counts[present], pixels)

    def picture(self, grey: GreyImage) -> GreyImage:
        """(H, W) uint8: every pixel replaced by what its sample became; `grey` is (N,)."""
        if self._pixels.dtype.itemsize > 2:
            return grey[np.searchsorted(self.raw, self._pixels)]
        table = np.zeros(int(self.raw[-1]) + 1, np.uint8)
        table[self.raw] = grey
        flat = self._pixels.reshape(-1)
        picture = np.empty(flat.size, np.uint8)
        for start in range(0, flat.size, _TAKEN):
            block = slice(start, start + _TAKEN)
            np.take(table, flat[block], out=picture[block], mode="clip")  # which needs no check: all are in the table
        return picture.reshape(self._pixels.shape)


def apply_lut(values: Values, lut: Lut) -> npt.NDArray[np.uint16]:
    """Look values up; below the first and above the last entry the end entries hold (PS3.3, C.11.1.1.1)."""
    index = np.floor(values).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64)
    index -= lut.first
    np.clip(index, 0, len(lut.data) - 1, out=index)
    return lut.data[index]


def apply_window(values: Values, window: Window) -> npt.NDArray[np.float64]:
    """Map values to [0, 1] by the equations of PS3.3, C.11.2.1.2 and C.11.2.1.3, with y_min = 0 and y_max = 1.

    Raises:
        ImageError: "bad_window" when centre or width is not finite, or the width is below what the function allows.
    """
    center, width = window.center, window.width
    smallest = 1.0 if window.function == "LINEAR" else math.ulp(0.0)
    if not (math.isfinite(center) and math.isfinite(width) and width >= smallest):
        raise ImageError("bad_window", f"the {window.function} window has an impossible centre or width")
    x = values.astype(np.float64)
    if window.function == "SIGMOID":
        return sigmoid(4.0 * (x - center) / width)
    if window.function == "LINEAR":
        # x <= c − 0.5 − (w−1)/2 → 0; x > c − 0.5 + (w−1)/2 → 1; else ((x − (c−0.5)) / (w−1)) + 0.5.
        center, width = center - 0.5, width - 1.0
    if width == 0.0:
        return np.asarray(x > center, dtype=np.float64)
    x -= center
    x /= width
    x += 0.5
    return np.clip(x, 0.0, 1.0, out=x)


def apply_range(values: Values, low: float, high: float) -> npt.NDArray[np.float64]:
    """Map [low, high] to [0, 1] linearly; a flat picture becomes 0."""
    x = values.astype(np.float64)
    if high <= low:
        return np.zeros_like(x)
    x -= low
    x /= high - low
    return np.clip(x, 0.0, 1.0, out=x)


def to_grey(y: npt.NDArray[np.float64]) -> GreyImage:
    """[0, 1] → uint8 by floor(255·y + 0.5): every grey level gets an interval of equal width around its value."""
    return np.floor(y * 255.0 + 0.5).astype(np.uint8)


def luma(rgb: Values) -> Values:
    """ITU-R 601-2 luma, (19595·R + 38470·G + 7471·B + 2^15) >> 16: exactly Pillow's "L", for any depth up to 16 bits.

    Args:
        rgb: (H, W, 3) unsigned integers.
    """
    if rgb.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))
    # The weighted sum of 16-bit values stays below 2^32.
    wide: npt.NDArray[Any] = rgb.astype(np.uint32 if rgb.max(initial=0) < 65536 else np.int64)
    total = wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471
    return np.asarray((total + 0x8000) >> 16)


def ybr_to_rgb(ybr: Values, partial: bool = False) -> npt.NDArray[np.uint8]:
    """YBR_FULL or YBR_PARTIAL (C.7.6.3.1.2, CCIR 601-2 with offset 128) → RGB, 8 bit.

    Args:
        ybr: (H, W, 3) uint8.
        partial: luminance spans 16 to 235 and chrominance 16 to 240.
    """
    y, b, r = (ybr[..., i].astype(np.float64) for i in range(3))
    b, r = b - 128.0, r - 128.0
    if partial:
        y, b, r = (y - 16.0) * 255.0 / 219.0, b * 255.0 / 224.0, r * 255.0 / 224.0
    rgb = np.stack([y + 1.402 * r, y - (0.114 * 1.772 * b + 0.299 * 1.402 * r) / 0.587, y + 1.772 * b], axis=-1)
    return np.floor(np.clip(rgb, 0.0, 255.0) + 0.5).astype(np.uint8)


def make_square(pixels: GreyImage, row_over_column: float, max_pixels: int) -> GreyImage:
    """Resample to square pixels: the coarser direction is enlarged (bilinear), so nothing is lost.

    Args:
        pixels: (H, W) uint8.
        row_over_column: distance between rows over distance between columns, > 0.
        max_pixels: size above which the result is refused.

    Raises:
        ImageError: "too_many_pixels".
    """
    height, width = pixels.shape
    ratio = row_over_column
    size = (round(width / ratio), height) if ratio < 1.0 else (width, round(height * ratio))
    if size == (width, height):
        return pixels
    if size[0] * size[1] > max_pixels:
        raise ImageError("too_many_pixels", f"square pixels would make {size[0]} × {size[1]} of them")
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
