"""The colours of a map: from dark blue to yellow, even steps of lightness, for all kinds of sight and for grey print.

A straight line in OKLab (Ottosson, 2020, https://bottosson.github.io/posts/oklab/), where equal distances look equally
far. Its lightness rises evenly, so that a grey copy keeps the order of all values. Blue and yellow are told apart by
people who see no red or no green; nobody needs the hue to read the value.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

# OKLab (lightness, green–red, blue–yellow) of both ends, within what sRGB can show.
DARK, BRIGHT = (0.25, -0.01, -0.13), (0.95, -0.04, 0.17)

_TO_ROOTS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def colours() -> npt.NDArray[np.uint8]:
    """(256, 3) sRGB, from the lowest value of a map to its highest."""
    share = np.linspace(0, 1, 256)[:, None]
    lab = np.array(DARK) * (1 - share) + np.array(BRIGHT) * share
    linear = np.clip((lab @ _TO_ROOTS.T) ** 3 @ _TO_LINEAR.T, 0, 1)
    # sRGB's transfer function (IEC 61966-2-1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(shown * 255), np.uint8)
