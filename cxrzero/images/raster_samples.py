"""The samples of a raster file and what they mean → one grey picture.

Unsigned samples of at most 8 bits keep their values: Pillow's "L" conversion and nothing else. All others (deeper,
signed, floating point) have no black and white of their own: the lowest grey of the picture becomes 0, the highest 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images.chain import GreyLevels, apply_range, luma, to_grey
from cxrzero.images.radiograph import GreyImage, Step

Values = npt.NDArray[Any]

# Twice the largest file that is read (`raster.MAX_FILE_BYTES`), and 178 million pixels of 16-bit RGB: no film has more.
MAX_SAMPLE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class RasterSamples:
    """A picture as its file holds it.

    Attributes:
        samples: (H, W, bands), native byte order: the colour's bands, then alpha if there is one.
        bits: of an integer sample; the largest unsigned one is 2^bits − 1.
        colour: what the first bands are: one of grey or of indices into the palette, three of RGB, four of CMYK.
        white_is_zero: grey samples fall from white (0) to black.
        alpha: "straight": the last band is opacity. "premultiplied": it is, and the colour has been multiplied by it.
        palette: (2^bits, 3) uint8 RGB, where the colour is "palette".
    """

    samples: Values
    bits: int
    colour: Literal["grey", "rgb", "cmyk", "palette"] = "grey"
    white_is_zero: bool = False
    alpha: Literal["straight", "premultiplied"] | None = None
    palette: npt.NDArray[np.uint8] | None = None


def grey_of(stored: RasterSamples) -> tuple[GreyImage, Step]:
    """(H, W) uint8 as stored (not yet upright), transparent pixels black; and the step that made it.

    Raises:
        ImageError: "corrupt_image" for values that are not numbers, "unsupported_image" for colours that are not read.
    """
    if stored.palette is not None:
        stored = _looked_up(stored)
    if stored.samples.dtype.kind in "bu" and stored.bits <= 8:
        pixels = _eight_bit_grey(stored)
        return pixels, Step("luma", {"weights": "ITU-R 601-2"}, float(pixels.min()), float(pixels.max()))
    values = _deep_grey(stored)
    if not np.isfinite(values).all():
        raise ImageError("corrupt_image", "the image holds values that are not numbers")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise ImageError("corrupt_image", "the image's values span more than a number can hold")
    if values.dtype == np.uint16:
        levels = GreyLevels.of(values)
        pixels = levels.picture(to_grey(apply_range(levels.raw, low, high)))
    else:
        pixels = to_grey(apply_range(values, low, high))
    return pixels, Step("range", {"low": low, "high": high}, float(pixels.min()), float(pixels.max()))


def over_black(image: Image.Image) -> GreyImage:
    """(H, W) of Pillow's mode "L"; transparent pixels become black, as padding does."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.composite(image.convert("RGB"), Image.new("RGB", image.size), image.getchannel("A"))
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _looked_up(stored: RasterSamples) -> RasterSamples:
    """The colours that the palette has for the indices. Tables of grey stay what they are: luma of v, v, v is v."""
    assert stored.palette is not None
    colours = stored.palette[stored.samples[..., 0].astype(np.intp)]
    samples = colours if stored.alpha is None else np.dstack([colours, stored.samples[..., 1:]])
    return RasterSamples(samples, 8, "rgb", alpha=stored.alpha)


def _eight_bit_grey(stored: RasterSamples) -> GreyImage:
    """(H, W): samples of at most 8 bits, in the mode that Pillow has for them, made "L" by Pillow."""
    samples = stored.samples
    if stored.bits < 8:
        steps = (1 << stored.bits) - 1
        samples = ((np.arange(steps + 1) * 510 + steps) // (2 * steps)).astype(np.uint8)[samples.astype(np.uint8)]
    if stored.white_is_zero:
        samples = np.concatenate([255 - samples[..., :1], samples[..., 1:]], axis=2)
    if stored.colour == "grey" and stored.alpha == "premultiplied":  # over black it stays as it is
        samples = samples[..., :1]
    if samples.shape[2] == 1:
        return samples[..., 0]
    mode = {"grey": "LA", "rgb": "RGB" if stored.alpha is None else "RGBA", "cmyk": "CMYK"}[stored.colour]
    raw = "RGBa" if stored.alpha == "premultiplied" else mode
    return over_black(Image.frombytes(mode, samples.shape[1::-1], samples.tobytes(), "raw", raw))


def _deep_grey(stored: RasterSamples) -> Values:
    """(H, W) of any numeric type, ascending from black to white."""
    samples = stored.samples
    if stored.colour == "cmyk":
        raise ImageError("unsupported_image", "CMYK is read with 8 bits a sample only")
    grey = _luma(samples[..., :3]) if stored.colour == "rgb" else samples[..., 0]
    if stored.white_is_zero:  # each reverses the order of all values
        kind = grey.dtype.kind
        grey = -grey if kind == "f" else ~grey if kind == "i" else grey ^ grey.dtype.type((1 << stored.bits) - 1)
    if stored.alpha != "straight":
        return np.asarray(grey)
    if samples.dtype.kind != "u":
        raise ImageError("unsupported_image", "transparency is read beside unsigned samples only")
    return np.asarray(grey.astype(np.float64) * samples[..., -1] / ((1 << stored.bits) - 1))


def _luma(rgb: Values) -> Values:
    """Do what `chain.luma` does for every numeric type: in 64-bit floating point where its integers cannot hold it."""
    if rgb.dtype.kind == "u" and rgb.dtype.itemsize <= 4:
        return luma(rgb)
    red, green, blue = (rgb[..., band].astype(np.float64) for band in range(3))
    return np.asarray((red * 19595 + green * 38470 + blue * 7471) / 65536)
