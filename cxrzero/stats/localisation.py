"""What a map must be compared with: baselines that see no film, and a cut-off that has not seen the patient.

Everything that is learned from boxes is learned without the film it is judged on (for the cut-off: without any of its
patient's), so nothing here knows the answer. Regions are as in `cxrzero.stats.regions`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats.regions import inside, iou

GRID = 256  # a fixed point is one of GRID × GRID: steps of 4 pixels on a film of 1,024
CENTRE = np.array(0.5)


def centre_hits(regions: Sequence[Floats]) -> Floats:
    """(n,) 1 where a film's centre is in its region."""
    return np.array([float(inside(boxes, CENTRE, CENTRE)) for boxes in regions])


def fixed_point_hits(regions: Sequence[Floats]) -> Floats:
    """(n,) whether the best fixed point, chosen on the other films, is in a film's region.

    The best point lies in most of the other films' regions. Of several equally good ones each counts its part, so that
    a hit may be a fraction. Without other films every point is as good.
    """
    counts, hits = _counts(regions), []
    for boxes in regions:
        own = _drawn(boxes)
        others = counts - own
        hits.append(float(own[others == others.max()].mean()))
    return np.array(hits)


def best_point_hit_rate(regions: Sequence[Floats]) -> float:
    """Share of films that the best of all points hits, chosen with them: no map that points to one place hits more."""
    return int(_counts(regions).max()) / len(regions)


def mean_boxes(regions: Sequence[Floats]) -> Floats:
    """(n, 4) the mean box of the other films, each of which counts once; NaN without others."""
    means = np.array([boxes.mean(axis=0) for boxes in regions]).reshape(-1, 4)
    n = len(means)
    if n < 2:
        return np.full((n, 4), np.nan)
    others: Floats = (means.sum(axis=0) - means) / (n - 1)
    return others


def mean_box_hits(regions: Sequence[Floats]) -> Floats:
    """(n,) 1 where the centre of the others' mean box is in a film's region; NaN without others."""
    boxes = mean_boxes(regions)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    hits = [float(inside(region, x[i], y[i])) for i, region in enumerate(regions)]
    return np.where(np.isnan(x), np.nan, hits)


def mean_box_ious(regions: Sequence[Floats]) -> Floats:
    """(n,) intersection over union of a film's region and the others' mean box; NaN without others."""
    boxes = mean_boxes(regions)
    ious = [iou(region, boxes[i : i + 1]) for i, region in enumerate(regions)]
    return np.where(np.isnan(boxes[:, 0]), np.nan, ious)


def cutoffs_left_out(ious: Floats, units: Ints) -> Ints:
    """(n,) for each film the cut-off with the largest mean IoU on films of all other units; -1 without others.

    Args:
        ious: (n, K) of each film at each cut-off.
        units: (n,) equal numbers for films of one patient.
    """
    _, units = np.unique(units, return_inverse=True)
    sums = np.stack([np.bincount(units, weights=column) for column in ious.T], axis=1)
    others = ious.sum(axis=0) - sums  # the sum and the mean are largest at the same place
    chosen = np.where(len(sums) > 1, others.argmax(axis=1), -1)
    return np.asarray(chosen[units])


def _counts(regions: Sequence[Floats]) -> Ints:
    """(GRID, GRID) in how many regions each point lies."""
    counts = np.zeros((GRID, GRID), np.int64)
    for boxes in regions:
        counts += _drawn(boxes)
    return counts


def _drawn(boxes: Floats) -> Bools:
    """(GRID, GRID) which points lie in the region."""
    points = (np.arange(GRID) + 0.5) / GRID
    left, upper, right, lower = (side[:, None] for side in boxes.T)
    rows, columns = (upper <= points) & (points < lower), (left <= points) & (points < right)
    drawn: Bools = (rows[:, :, None] & columns[:, None, :]).any(axis=0)
    return drawn
