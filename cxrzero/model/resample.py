"""Pillow's resize of 8-bit grey, as integer arithmetic that any processor repeats bit for bit.

Each axis is a pass of its own: an output pixel is the sum of its taps' pixels times whole weights in units of 2⁻²²,
half a unit of grey is added, what is below one is cut off, and the result is kept within 0 to 255 before the next pass.
An axis whose size stays has no pass. (Pillow, src/libImaging/Resample.c: `normalize_coeffs_8bpc`.)

Weights are asked of the installed Pillow, so that no other sine or order of operations rounds them otherwise. The order
of the passes has changed twice; `order_of_passes` finds by trial which one the installed Pillow has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.images.radiograph import GreyImage
from cxrzero.model.geometry import Geometry, Size

# Bits of a weight below one.
BITS = 22

# Pixels on either side of a target's centre that have weight, when nothing shrinks.
SUPPORT = {
    Image.Resampling.NEAREST: 0.5,
    Image.Resampling.BILINEAR: 1.0,
    Image.Resampling.BICUBIC: 2.0,
    Image.Resampling.LANCZOS: 3.0,
}

# (size of the picture, size of the result) → axes in the order of their passes.
Order = Callable[[Size, Size], tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """One pass: which pixels of a line each pixel of the result is made of.

    Attributes:
        first: (target,) place of the first tap; the others follow it.
        weights: (target, taps) int32, in units of 2⁻²².
    """

    first: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]

    @property
    def places(self) -> npt.NDArray[np.int32]:
        """(target, taps) places in the line."""
        return np.asarray(self.first[:, None] + np.arange(self.weights.shape[1]), np.int32)


def fits_on_device(geometry: Geometry) -> bool:
    """Whether films may be fitted elsewhere: it gives Pillow's bits, and films that are fitted stay as they are."""
    return geometry.is_pillows and geometry.is_settled and order_of_passes() is not None


def taps(source: int, target: int, interpolation: Image.Resampling) -> Taps:
    """The taps of Pillow's pass from `source` to `target` pixels, which are not equal.

    Pillow resizes whole numbers of 32 bits with the same weights. Of a comb of pixels of 2²², farther apart than the
    taps of one target reach, each target shows the weight of the one tooth that it can see.
    """
    shrink = max(source / target, 1.0)
    reach = SUPPORT[interpolation] * shrink
    count = min(source, 2 * ceil(reach) + 4)  # with room for how Pillow rounds the ends
    centres = (np.arange(target) + 0.5) * (source / target)
    first = np.clip(np.floor(centres - reach).astype(np.int32) - 1, 0, source - count)
    combs = np.zeros((count, source), np.int32)
    combs[np.arange(source) % count, np.arange(source)] = 1 << BITS
    seen = np.asarray(Image.fromarray(combs).resize((target, count), interpolation))
    places = (first[:, None] + np.arange(count)) % count
    return Taps(first, seen[places, np.arange(target)[:, None]])


def resize(pixels: GreyImage, size: Size, interpolation: Image.Resampling, order: Order) -> GreyImage:
    """What Pillow's resize gives, computed here: (H, W) uint8 → `size` uint8."""
    for axis in order(pixels.shape, size):
        if pixels.shape[axis] != size[axis]:
            lines = np.moveaxis(pixels, axis, 0).astype(np.int64)
            found = taps(len(lines), size[axis], interpolation)
            sums = (lines[found.places] * found.weights[:, :, None]).sum(axis=1)
            rounded = np.clip((sums + (1 << BITS - 1)) >> BITS, 0, 255).astype(np.uint8)
            pixels = np.moveaxis(rounded, 0, axis)
    return pixels


def _width_first(source: Size, target: Size) -> tuple[int, int]:
    """Older versions."""
    return 1, 0


def _height_first_of_slivers(source: Size, target: Size) -> tuple[int, int]:
    """Pillow 12.3: the height first where a picture is more than a hundred times as high as wide, and shrinks in it."""
    return (0, 1) if source[0] > 100 * source[1] and target[0] < source[0] else (1, 0)


def _height_first_if_it_loses_more(source: Size, target: Size) -> tuple[int, int]:
    """Pillow 13: the height first where it loses more than twice as many pixels as the width."""
    less_height, less_width = source[0] - target[0], source[1] - target[1]
    return (0, 1) if less_height > max(0, 2 * less_width) else (1, 0)


@cache
def order_of_passes() -> Order | None:
    """The order that the installed Pillow has; None where its resize is not the arithmetic of this module.

    The trials are pictures that become smaller and larger, those among them on whose order the versions differ.
    """
    trials = [(*sizes, interpolation) for sizes, interpolation in product(_TRIALS, SUPPORT)]
    return next((order for order in _ORDERS if all(_agrees(order, *trial) for trial in trials)), None)


def _agrees(order: Order, source: Size, target: Size, interpolation: Image.Resampling) -> bool:
    pixels = np.random.default_rng(0).integers(0, 256, source, np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize(target[::-1], interpolation))
    return np.array_equal(resize(pixels, target, interpolation, order), expected)


_ORDERS: tuple[Order, ...] = (_height_first_if_it_loses_more, _height_first_of_slivers, _width_first)
_TRIALS: tuple[tuple[Size, Size], ...] = (
    ((60, 45), (20, 30)),
    ((41, 30), (20, 20)),
    ((40, 30), (20, 20)),
    ((30, 60), (20, 15)),
    ((30, 20), (20, 50)),
    ((20, 30), (50, 20)),
    ((20, 15), (41, 37)),
    ((50, 20), (49, 20)),
    ((9, 70), (9, 3)),
    ((201, 2), (9, 5)),
    ((200, 2), (9, 5)),
)
