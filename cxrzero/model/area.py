"""OpenCV's resize of 8-bit grey with INTER_AREA, as arithmetic that gives its bits (modules/imgproc/src/resize.cpp).

A picture that becomes smaller along both sides is averaged over the area that each pixel of the result covers: over
whole pixels where both ratios are whole numbers, else with weights at the edges. If a side grows, OpenCV interpolates
linearly between two pixels instead, with weights of its own.
"""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import numpy.typing as npt

from cxrzero.images.radiograph import GreyImage

Float32s = npt.NDArray[np.float32]

WHOLE = float(np.finfo(np.float64).eps)  # a ratio this near a whole number is one
NO_WEIGHT = 1e-3  # of a pixel: a smaller share of it does not count
LINEAR_BITS = 11  # of a linear weight below one


def resize_area(pixels: GreyImage, size: tuple[int, int]) -> GreyImage:
    """(H, W) uint8 → (height, width) `size`, as cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)."""
    before = (pixels.shape[0], pixels.shape[1])
    if before == size:
        return pixels
    ratios = [1 / (after / side) for side, after in zip(before, size, strict=True)]  # inverted twice, as OpenCV does
    if min(ratios) < 1:
        return _linear(pixels, size, ratios)
    if all(abs(ratio - int(ratio)) < WHOLE for ratio in ratios):
        return _whole(pixels, size, int(ratios[0]), int(ratios[1]))
    across = _weighted(pixels.T, *_taps(before[1], size[1], ratios[1])).T
    means = _weighted(across, *_taps(before[0], size[0], ratios[0]))
    return np.asarray(np.clip(np.rint(means), 0, 255), np.uint8)


def _whole(pixels: GreyImage, size: tuple[int, int], down: int, across: int) -> GreyImage:
    """Means of blocks of down · across pixels; those of four are rounded up at half, others to even."""
    blocks = pixels.reshape(size[0], down, size[1], across)
    sums = blocks.sum(axis=(1, 3), dtype=np.int32)
    if (down, across) == (2, 2):
        return np.asarray((sums + 2) >> 2, np.uint8)
    return np.asarray(np.rint(sums.astype(np.float32) * np.float32(1 / np.float32(down * across))), np.uint8)


def _taps(source: int, target: int, ratio: float) -> tuple[npt.NDArray[np.intp], Float32s]:
    """What each pixel of the result is made of along a side: places and weights, (taps, target); 0 fills them up."""
    rows = []
    for place in range(target):
        start = place * ratio
        end = start + ratio
        width = min(ratio, source - start)
        last = min(floor(end), source - 1)
        first = min(ceil(start), last)
        row = [(first - 1, (first - start) / width)] if first - start > NO_WEIGHT else []
        row += [(middle, 1 / width) for middle in range(first, last)]
        if end - last > NO_WEIGHT:
            row.append((last, min(end - last, 1.0, width) / width))
        rows.append(row)
    places = np.zeros((max(map(len, rows)), target), np.intp)
    weights = np.zeros(places.shape, np.float32)
    for place, row in enumerate(rows):
        for tap, (source_place, weight) in enumerate(row):
            places[tap, place], weights[tap, place] = source_place, weight
    return places, weights


def _weighted(lines: npt.NDArray[np.generic], places: npt.NDArray[np.intp], weights: Float32s) -> Float32s:
    """Sums of lines, (lines, …) → (target, …), in float32 from the first tap to the last: another order rounds."""
    floats = lines.astype(np.float32)
    sums = np.zeros((places.shape[1], *lines.shape[1:]), np.float32)
    for place, weight in zip(places, weights, strict=True):
        sums += floats[place] * weight[:, None]
    return sums


def _linear(pixels: GreyImage, size: tuple[int, int], ratios: list[float]) -> GreyImage:
    """Between two neighbours, with weights in units of 1/2048; the sum over rows is shifted down in three steps."""
    (top, low, high), (left, near, far) = (
        _pairs(side, after, ratio) for side, after, ratio in zip(pixels.shape, size, ratios, strict=True)
    )
    right, bottom = np.minimum(left + 1, pixels.shape[1] - 1), np.minimum(top + 1, pixels.shape[0] - 1)
    lines = pixels.astype(np.int32)
    across = lines[:, left] * near + lines[:, right] * far
    upper = ((across[top] >> 4) * low[:, None]) >> 16
    lower = ((across[bottom] >> 4) * high[:, None]) >> 16
    return np.asarray(np.clip((upper + lower + 2) >> 2, 0, 255), np.uint8)


def _pairs(source: int, target: int, ratio: float) -> tuple[npt.NDArray[np.intp], ...]:
    """Along a side, (target,) each: the first of two neighbours, its weight and that of the next."""
    places = np.floor(np.arange(target) * ratio).astype(np.intp)
    shares = ((np.arange(target) + 1) - (places + 1) * (target / source)).astype(np.float32)
    shares = np.where(shares <= 0, np.float32(0), shares - np.floor(shares))
    shares[places >= source - 1] = 0
    places = np.minimum(places, source - 1)
    unit = np.float32(1 << LINEAR_BITS)
    near, far = (np.rint(weight * unit).astype(np.intp) for weight in (np.float32(1) - shares, shares))
    return places, near, far
