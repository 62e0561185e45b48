"""From fitted 8-bit grey to the numbers that an encoder takes: the steps that may run where the encoder runs.

What a bundle does after its geometry is the same for every picture: a table of 256 grey levels, and in CheXzero's
preprocessing a bicubic resize of its numbers. Both are plain arithmetic, so that a GPU gives the same bits, and the
picture travels as one byte for each pixel instead of twelve.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# The cubic convolution parameter of torch.nn.functional.interpolate (Keys 1981 has −0.5, which Pillow uses).
TORCH_CUBIC_A = -0.75


@dataclass(frozen=True, slots=True, eq=False)
class ValueSteps:
    """The steps from `rescale` on, of a bundle in which they are these two.

    Attributes:
        levels: (C, 256) float32, what becomes of each grey level; C is 3, or 1 where the three channels are equal.
        side: of the bicubic resize after it, (side, side) pixels; None where there is none.
    """

    levels: npt.NDArray[np.float32]
    side: int | None = None

    def __call__(self, fitted: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(N, h, w) uint8, as `Preprocess.fit` gives them → pixel_values (N, 3, H, W) float32."""
        values = np.moveaxis(self.levels[:, fitted], 0, 1)
        if self.side is not None:
            values = resize_bicubic(values, self.side)
        return np.ascontiguousarray(np.broadcast_to(values, (len(values), 3, *values.shape[2:])))


def resize_bicubic(values: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """Resize (…, h, w) to (…, side, side) as torch.nn.functional.interpolate does without antialias.

    Rows first, then columns; products and their sums, from the first tap to the last, in float64, rounded once.
    """
    height, width = values.shape[-2:]
    taps, weights = cubic_taps(height, side)
    tall = sum(values[..., taps[k], :] * weights[k][:, None] for k in range(4))
    taps, weights = cubic_taps(width, side)
    return np.asarray(sum(tall[..., taps[k]] * weights[k] for k in range(4)), np.float32)


@lru_cache(maxsize=16)
def cubic_taps(source: int, target: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Keys' cubic convolution, half-pixel centres, edges repeated: four sources of each target and their weights.

    Returns:
        (4, target) indices and (4, target) float64.
    """
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    taps = np.floor(centres).astype(np.intp) + np.arange(-1, 3)[:, None]
    weights = np.vectorize(_cubic, otypes=[np.float64])(np.abs(centres - taps))
    return np.clip(taps, 0, source - 1), weights


def _cubic(distance: float, a: float = TORCH_CUBIC_A) -> float:
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    if distance < 2:
        return a * (((distance - 5) * distance + 8) * distance - 4)
    return 0.0
