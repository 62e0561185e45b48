"""Regions of a film that are unions of boxes: what lies inside them, and how well a map agrees with them.

Boxes are (k, 4) float64: left, upper, right, lower as fractions of the film, (0, 0) its upper left corner. A box holds
its left and upper edge. Everything here is exact arithmetic on these rectangles, without drawing them.
"""

from __future__ import annotations

import itertools

import numpy as np

from cxrzero.maths import Bools, Float32s, Floats

# Where a map may be cut: parts of the way from its lowest to its highest value.
CUTOFFS: Floats = np.arange(1, 20) / 20


def inside(boxes: Floats, x: Floats, y: Floats) -> Bools:
    """Whether points lie in the region; x and y broadcast."""
    x, y = np.asarray(x)[..., None], np.asarray(y)[..., None]
    left, upper, right, lower = boxes.T
    found: Bools = ((left <= x) & (x < right) & (upper <= y) & (y < lower)).any(axis=-1)
    return found


def disjoint(boxes: Floats) -> Floats:
    """The same region as (m, 4) boxes that do not overlap: strips between neighbouring upper and lower edges."""
    edges = np.unique(boxes[:, [1, 3]])
    made = []
    for upper, lower in itertools.pairwise(edges):
        spans = boxes[(boxes[:, 1] <= upper) & (boxes[:, 3] >= lower)][:, [0, 2]]
        reached = -np.inf
        for left, right in spans[np.argsort(spans[:, 0])]:
            if right > reached:
                made.append((max(left, reached), upper, right, lower))
                reached = right
    return np.array(made, np.float64).reshape(-1, 4)


def area(boxes: Floats) -> float:
    """The region's share of the film."""
    left, upper, right, lower = disjoint(boxes).T
    return float(np.sum((right - left) * (lower - upper)))


def coverage(boxes: Floats, height: int, width: int) -> Floats:
    """(height, width) how much of each cell of a grid over the film lies in the region, 0 to 1."""
    left, upper, right, lower = disjoint(boxes).T
    covered: Floats = _along(upper, lower, height).T @ _along(left, right, width)
    return covered


def _along(start: Floats, stop: Floats, n: int) -> Floats:
    """(m, n) the share of each of n equal parts of [0, 1] that each of m intervals covers."""
    begins = np.arange(n) / n
    parts: Floats = np.minimum(stop[:, None], begins + 1 / n) - np.maximum(start[:, None], begins)
    return np.clip(parts * n, 0.0, 1.0)


def iou(one: Floats, other: Floats) -> float:
    """Intersection over union of two regions; NaN of two empty ones."""
    a, b = disjoint(one), disjoint(other)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = float(np.prod(np.clip(high - low, 0.0, None), axis=2).sum())
    union = area(one) + area(other) - shared
    return shared / union if union > 0 else float("nan")


def ious_above(found: Float32s, boxes: Floats, cutoffs: Floats = CUTOFFS) -> Floats:
    """(K,) intersection over union of the region with what a map has at or above each cut-off.

    A flat map has nothing above any: it points nowhere.

    Args:
        found: (h, w) map over the whole film.
        cutoffs: (K,) rising, as parts of the way from the map's lowest to its highest value.
    """
    low, high = float(found.min()), float(found.max())
    if high <= low:
        return np.zeros(len(cutoffs))
    covered = coverage(boxes, *found.shape)
    reached = np.searchsorted(cutoffs, (found.astype(np.float64) - low) / (high - low), side="right").ravel()
    sizes = np.bincount(reached, minlength=len(cutoffs) + 1)[::-1].cumsum()[::-1][1:]
    shared = np.bincount(reached, covered.ravel(), minlength=len(cutoffs) + 1)[::-1].cumsum()[::-1][1:]
    return np.asarray(shared / (sizes + covered.sum() - shared))
