"""The image plane: where a millimetre of the patient falls, and how thin structures are laid onto it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.maths import AnyFloats

# Maps (AnyFloats) are float32 in practice; intermediate values may be float64.
Points = npt.NDArray[np.float64]

# Field that must be visible, in mm: a 35 × 43 cm cassette less its margins.
FIELD_WIDTH, FIELD_HEIGHT = 356.0, 366.0


@dataclass(frozen=True)
class Frame:
    """A pixel grid over the patient's coronal plane.

    Patient coordinates are in mm: x grows to the viewer's right (the patient's left in PA and AP), y grows downwards;
    x = 0 is the midline, y = 0 lies in the neck, about 6 cm above the lung apices.

    Attributes:
        height, width: pixels.
        mm_per_px: side of a pixel in mm.
        centre: (x, y) of the image centre in mm.
        angle: rotation of the patient in radians, positive turns clockwise on the screen.
    """

    height: int
    width: int
    mm_per_px: float
    centre: tuple[float, float]
    angle: float
    x: AnyFloats = field(init=False, repr=False)
    y: AnyFloats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        column = ((np.arange(self.width) - (self.width - 1) / 2) * self.mm_per_px).astype(np.float32)[None, :]
        row = ((np.arange(self.height) - (self.height - 1) / 2) * self.mm_per_px).astype(np.float32)[:, None]
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        object.__setattr__(self, "x", column * cos + row * sin + np.float32(self.centre[0]))
        object.__setattr__(self, "y", row * cos - column * sin + np.float32(self.centre[1]))

    def to_pixels(self, x: Points, y: Points) -> tuple[Points, Points]:
        """Patient mm to (column, row), the inverse of `x` and `y`."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        column = (dx * cos - dy * sin) / self.mm_per_px + (self.width - 1) / 2
        row = (dx * sin + dy * cos) / self.mm_per_px + (self.height - 1) / 2
        return column, row

    def splat(self, x: Points, y: Points, weight: Points) -> AnyFloats:
        """Spread masses over the grid, each over its four neighbours.

        Args:
            x, y: positions in mm, any shape.
            weight: mm³ of material at each, same shape.

        Returns:
            (H, W) path length in mm: mass per pixel area.
        """
        column, row = self.to_pixels(x.ravel(), y.ravel())
        mass = np.broadcast_to(weight, x.shape).ravel() / self.mm_per_px**2
        inside = (column > 0) & (column < self.width - 1.001) & (row > 0) & (row < self.height - 1.001)
        column, row, mass = column[inside], row[inside], mass[inside]
        left, top = column.astype(np.int64), row.astype(np.int64)
        fx, fy = column - left, row - top
        index = top * self.width + left
        lower, upper = mass * fy, mass * (1 - fy)
        n = self.height * self.width
        total = np.bincount(index, upper * (1 - fx), n)
        total += np.bincount(index + 1, upper * fx, n)
        total += np.bincount(index + self.width, lower * (1 - fx), n)
        total += np.bincount(index + self.width + 1, lower * fx, n)
        return total.reshape(self.height, self.width).astype(np.float32)

    def tube(self, x: Points, y: Points, radius: Points | float, wall: float | None = None) -> AnyFloats:
        """Path length through round tubes that lie in the image plane.

        Args:
            x, y: (n, k) centre lines of n tubes, in mm; the k points of a tube are evenly spaced.
            radius: mm, broadcastable to (n, k).
            wall: thickness of a hollow tube's wall in mm; None means solid.
        """
        x, y = np.atleast_2d(x), np.atleast_2d(y)
        radius = np.broadcast_to(np.asarray(radius, np.float64), x.shape)
        dx, dy = np.gradient(x, axis=1), np.gradient(y, axis=1)
        step = np.hypot(dx, dy) + 1e-9
        n_across = int(np.clip(np.ceil(2.6 * radius.max() / self.mm_per_px), 3, 120))
        u = (np.arange(n_across) + 0.5) / n_across * 2 - 1
        chord = 2 * radius[..., None] * np.sqrt(1 - u**2)
        if wall is not None:
            inner = np.maximum(radius[..., None] - wall, 0.0)
            chord = chord - 2 * np.sqrt(np.maximum(inner**2 - (u * radius[..., None]) ** 2, 0.0))
        mass = chord * (2 * radius / n_across * step)[..., None]
        across_x = x[..., None] - (dy / step * radius)[..., None] * u
        across_y = y[..., None] + (dx / step * radius)[..., None] * u
        return self.splat(across_x, across_y, mass)

    def texture(self, rng: np.random.Generator, finest_mm: float, octaves: int = 4, gain: float = 0.6) -> AnyFloats:
        """Smooth fractal noise, about unit variance, whose pattern does not depend on the number of pixels."""
        total = np.zeros((self.height, self.width), np.float32)
        extent = max(self.height, self.width) * self.mm_per_px
        scale = 1.0
        for octave in range(octaves):
            cells = max(2, round(extent / (finest_mm * 2 ** (octaves - 1 - octave))))
            coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
            total += np.float32(scale) * np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BICUBIC))
            scale *= gain
        return total / np.float32(np.sqrt(np.sum(gain ** (2 * np.arange(octaves))) * 0.5))


def path(points: list[tuple[float, float]], spacing: float) -> tuple[Points, Points]:
    """A smooth curve through about the given points (mm), with points `spacing` mm apart."""
    xy = np.asarray(points, np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    t = np.linspace(0, along[-1], max(8, int(along[-1] / spacing)))
    window = max(1, len(t) // (2 * len(xy)))
    return _smooth(np.interp(t, along, xy[:, 0]), window), _smooth(np.interp(t, along, xy[:, 1]), window)


def profile(knots: list[tuple[float, float]], window: float = 0.1) -> Callable[[AnyFloats], AnyFloats]:
    """A smooth function through about the given (position, value) knots; constant beyond them."""
    position, value = np.asarray(knots, np.float64).T
    table = np.linspace(position[0], position[-1], 256)
    smooth = _smooth(np.interp(table, position, value), max(1, int(128 * window)))

    def evaluate(at: AnyFloats) -> AnyFloats:
        return np.interp(at, table, smooth).astype(np.float32)

    return evaluate


def _smooth(values: Points, half: int) -> Points:
    """Hann-weighted running mean over ±half samples; the ends stay where they are."""
    kernel = np.hanning(2 * half + 3)[1:-1]
    # Odd reflection about the end points keeps both the ends and the slope there.
    left = 2 * values[0] - values[half:0:-1]
    right = 2 * values[-1] - values[-2 : -half - 2 : -1]
    return np.convolve(np.concatenate([left, values, right]), kernel / kernel.sum(), "valid")


def ramp(distance: AnyFloats, width: float) -> AnyFloats:
    """0 where distance ≤ −width/2, 1 where ≥ width/2, smooth between (Hermite)."""
    t = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    smooth: AnyFloats = t * t * (3 - 2 * t)
    return smooth


def ellipsoid(
    frame: Frame, centre: tuple[float, float], radii: tuple[float, float], depth: float, tilt: float = 0.0
) -> AnyFloats:
    """Path length (mm) through an ellipsoid with half-axes `radii` in the plane and `depth` along the beam."""
    dx, dy = frame.x - np.float32(centre[0]), frame.y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    a = (dx * cos + dy * sin) / np.float32(radii[0])
    b = (dy * cos - dx * sin) / np.float32(radii[1])
    return np.float32(2 * depth) * np.sqrt(np.maximum(1 - a * a - b * b, 0))
