"""The way from a film's stored pixels to a model's input, and back.

Every step is a stretch, a shift or a turn of whole axes, so that a place along one side is found from a place along
another by one multiplication and one addition. Places are continuous: 0 is the upper or left edge of the first pixel,
and its middle is 0.5. Pillow, OpenCV and torch resize by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cxrzero.heatmap.arrays import MAP_SIDE, Region
from cxrzero.heatmap.cells import Axis
from cxrzero.images.radiograph import StoredFrame, as_stored
from cxrzero.maths import Bools, Float32s, Floats
from cxrzero.model.geometry import AreaResize, Geometry, Resize, Size, Window

# Of a pixel: what rounding may add to a place.
SLACK = 1e-6


class Line(NamedTuple):
    """Place in a model's input = scale · place in the upright picture + shift, along one side."""

    scale: float
    shift: float

    def back(self, place: float) -> float:
        """The place in the upright picture."""
        return (place - self.shift) / self.scale

    def axis(self, cells: Axis) -> Axis:
        """Cells of the input, in places of the upright picture."""
        return Axis(self.back(cells.first), cells.step / self.scale)


Lines = tuple[Line, Line]  # down, across


def lines_of(geometry: Geometry, size: Size, image_size: Size | None = None) -> Lines:
    """The way of a picture of (height, width) through a bundle's geometry.

    Args:
        image_size: of the encoder's input, where the numbers are resized once more after the geometry
            (`resize_tensor`); None ends with the fitted picture.
    """
    lines, now = [Line(1.0, 0.0), Line(1.0, 0.0)], size
    for move in geometry.plan(size):
        if isinstance(move, Resize | AreaResize):
            lines = _stretched(lines, now, move.size)
        elif isinstance(move, Window):
            lines = [Line(line.scale, line.shift - cut) for line, cut in zip(lines, (move.top, move.left), strict=True)]
        now = move.size
    if image_size is not None:
        lines = _stretched(lines, now, image_size)
    return lines[0], lines[1]


def _stretched(lines: Sequence[Line], before: Size, after: Size) -> list[Line]:
    ratios = (after[0] / before[0], after[1] / before[1])
    return [Line(line.scale * ratio, line.shift * ratio) for line, ratio in zip(lines, ratios, strict=True)]


def seen_by(lines: Lines, image_size: Size, size: Size) -> tuple[float, float, float, float]:
    """What of the upright picture comes into the input: left, upper, right, lower."""
    (upper, lower), (left, right) = (
        (max(0.0, line.back(0)), min(float(whole), line.back(side)))
        for line, side, whole in zip(lines, image_size, size, strict=True)
    )
    return left, upper, right, lower


def onto_frame(
    values: Float32s,
    axes: tuple[Axis, Axis],
    size: Size,
    stored: StoredFrame,
    seen: tuple[float, float, float, float],
) -> tuple[Float32s, Region]:
    """Cells of the upright picture → maps on the stored frame.

    Between the middles of cells a map is bilinear, beyond the outermost it stays as it is.

    Args:
        values: (L, h, w), of cells whose middles are at `axes`, down and across.
        size: (H, W) of the upright picture.
        seen: of it, see `seen_by`.

    Returns:
        (L, h', w') float32 as `cxrzero.heatmap.arrays.FilmMaps` has it, and the part of the frame that was seen.
    """
    turned = stored.orientation in (5, 6, 7, 8)
    frame = (stored.columns, stored.rows) if turned else (stored.rows, stored.columns)  # as it is seen upright
    counts = _map_size(frame)
    down, across = (
        _means(side, count, whole / side, axis, cells)
        for side, count, whole, axis, cells in zip(frame, counts, size, axes, values.shape[1:], strict=True)
    )
    maps = np.einsum("ih,lhw,jw->lij", down, values.astype(np.float64), across, optimize=True).astype(np.float32)
    left, upper, right, lower = seen
    shares = (upper / size[0], lower / size[0]), (left / size[1], right / size[1])
    rows, columns = (_within(count, *share) for count, share in zip(counts, shares, strict=True))
    is_seen = rows[:, None] & columns
    if not is_seen.all():
        maps = np.where(is_seen, maps, np.where(is_seen, maps, np.inf).min(axis=(1, 2), keepdims=True))
    return np.ascontiguousarray(as_stored(maps, stored.orientation)), _region(*shares, stored)


def _map_size(frame: Size) -> Size:
    """MAP_SIDE elements along the longer side, or as many as it has pixels."""
    ratio = min(1.0, MAP_SIDE / max(frame))
    return max(1, round(frame[0] * ratio)), max(1, round(frame[1] * ratio))


def _means(side: int, count: int, ratio: float, axis: Axis, cells: int) -> Floats:
    """(count, cells): what each cell weighs in each element of a map, along one side of `side` pixels.

    An element is the mean over its part of the pixels; where a pixel is in two elements, it counts in both for as much.

    Args:
        ratio: pixels of the upright picture for one of the frame.
    """
    places = ((np.arange(side) + 0.5) * ratio - axis.first) / axis.step
    places = np.clip(places, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells)))
    sums = np.concatenate([np.zeros((1, cells)), np.cumsum(weights, axis=0)])
    ends = np.arange(count + 1) * (side / count)
    whole = np.minimum(ends.astype(np.int64), side - 1)
    upto = sums[whole] + (ends - whole)[:, None] * weights[whole]
    return np.asarray(np.diff(upto, axis=0) * (count / side))


def _within(count: int, start: float, end: float) -> Bools:
    """Which of `count` elements have their middle within a part of the whole, both ends as shares of it."""
    middles = (np.arange(count) + 0.5) / count
    return np.asarray((middles >= start) & (middles <= end))


def _region(down: tuple[float, float], across: tuple[float, float], stored: StoredFrame) -> Region:
    """A part of the upright frame, in shares of its sides, as a rectangle of the stored one (`upright`, undone)."""
    if stored.orientation in (3, 4, 7, 8):
        down = 1 - down[1], 1 - down[0]
    if stored.orientation in (2, 3, 6, 7):
        across = 1 - across[1], 1 - across[0]
    if stored.orientation in (5, 6, 7, 8):
        down, across = across, down
    return Region(
        math.floor(across[0] * stored.columns + SLACK),
        math.floor(down[0] * stored.rows + SLACK),
        math.ceil(across[1] * stored.columns - SLACK),
        math.ceil(down[1] * stored.rows - SLACK),
    )
