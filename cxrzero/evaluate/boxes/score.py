"""Hit rate, IoU and gains of one finding, with intervals, and whether its maps are worth showing as places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxrzero.evaluate.boxes.gather import Placed
from cxrzero.evaluate.boxes.seen import Training
from cxrzero.evaluate.discrimination import Intervals
from cxrzero.maths import Floats, Ints
from cxrzero.prompts.location import FEWEST_UNITS, beats_fixed_point
from cxrzero.stats.intervals import Estimate, all_alike, percentile
from cxrzero.stats.localisation import (
    best_point_hit_rate,
    centre_hits,
    cutoffs_left_out,
    fixed_point_hits,
    mean_box_hits,
    mean_box_ious,
)
from cxrzero.stats.regions import CUTOFFS, area
from cxrzero.stats.resample import resampled_means

# "unknown": the map beats the best fixed point, on films that the model may have been trained on.
Verdict = Literal["validated", "not validated", "too few", "seen in training", "unknown"]

# What is measured → the least and most that it can be of a film.
RANGES = {
    "hit_rate": (0.0, 1.0),
    "centre_hit_rate": (0.0, 1.0),
    "fixed_point_hit_rate": (0.0, 1.0),
    "mean_box_hit_rate": (0.0, 1.0),
    "gain": (-1.0, 1.0),
    "miou": (0.0, 1.0),
    "mean_box_miou": (0.0, 1.0),
    "iou_gain": (-1.0, 1.0),
    "box_share": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class LabelLocation:
    """What one finding's maps are worth, on films of which the same is known about training.

    Attributes:
        n_films, n_units, n_boxes: films with boxes of the finding, patients (or what is independent), boxes.
        hit_rate: share of films where the peak of the map is inside the boxes.
        centre_hit_rate, fixed_point_hit_rate, mean_box_hit_rate: of the baselines, see `cxrzero.stats.localisation`.
        best_point_hit_rate: of the best of all points, chosen with every film.
        gain: hit rate minus the fixed point's, film by film.
        miou: mean IoU of the boxes and the map above the cut-off that is best on the other patients.
        mean_box_miou: of the mean box; `iou_gain` is the difference, film by film.
        box_share: mean share of the film that the boxes cover: what a random point hits.
        cutoffs: the lowest and highest that was chosen, as parts of the map's range; NaN where none could be.
    """

    label: str
    training: Training
    n_films: int
    n_units: int
    n_boxes: int
    hit_rate: Estimate
    centre_hit_rate: Estimate
    fixed_point_hit_rate: Estimate
    mean_box_hit_rate: Estimate
    best_point_hit_rate: float
    gain: Estimate
    miou: Estimate
    mean_box_miou: Estimate
    iou_gain: Estimate
    box_share: Estimate
    cutoffs: tuple[float, float]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class MeanLocation:
    """Means over the findings that have enough patients; of the same films as they."""

    labels: tuple[str, ...]
    training: Training
    values: dict[str, Estimate]


def score_location(label: str, placed: Sequence[Placed], intervals: Intervals) -> LabelLocation:
    """Score the maps of one finding on films that are all seen, not seen or unknown; there is one at least."""
    values, chosen = film_values(placed)
    units = _numbered([each.unit for each in placed])
    n_units = len(set(units.tolist()))
    estimates = _estimates(values, units, intervals)
    training, best_point = placed[0].training, best_point_hit_rate([each.region for each in placed])
    beats = beats_fixed_point(estimates["hit_rate"].value, best_point, estimates["gain"].low, n_units)
    cuts = CUTOFFS[chosen[chosen >= 0]]
    return LabelLocation(
        label=label,
        training=training,
        n_films=len(placed),
        n_units=n_units,
        n_boxes=sum(len(each.region) for each in placed),
        cutoffs=(float(cuts.min()), float(cuts.max())) if len(cuts) else (math.nan, math.nan),
        best_point_hit_rate=best_point,
        verdict=_verdict(training, n_units, beats),
        **estimates,
    )


def mean_location(
    labels: Sequence[str], placed: Sequence[Sequence[Placed]], intervals: Intervals
) -> MeanLocation | None:
    """Means over findings, each counting once; a patient is drawn with all that it has. None without findings."""
    if not labels:
        return None
    units = _numbered([each.unit for films in placed for each in films])
    every = [film_values(films)[0] for films in placed]
    rows = np.repeat(np.arange(len(placed)), [len(films) for films in placed])
    values = {}
    for name, (low, high) in RANGES.items():
        # A column a finding, NaN on the rows of the others: the mean over its own rows, then over the findings.
        column = np.concatenate([each[name] for each in every])
        own = (rows[:, None] == np.arange(len(placed))) & ~np.isnan(column)[:, None]
        share = resampled_means(np.hstack([np.where(own, column[:, None], 0.0), own]), units, intervals.resampling)
        sums, sizes = np.split(share, 2, axis=1)
        means = np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0).mean(axis=1)
        value = float(np.mean([_mean(each[name]) for each in every]))
        values[name] = _interval(value, means, len(set(units.tolist())), (low, high), intervals)
    return MeanLocation(tuple(labels), placed[0][0].training, values)


def film_values(placed: Sequence[Placed]) -> tuple[dict[str, Floats], Ints]:
    """(n,) of each film everything in RANGES, and the cut-off that its IoU was taken at (-1: none)."""
    regions = [each.region for each in placed]
    ious = np.stack([each.ious for each in placed])
    chosen = cutoffs_left_out(ious, _numbered([each.unit for each in placed]))
    hits = np.array([float(each.is_hit) for each in placed])
    iou = np.where(chosen >= 0, ious[np.arange(len(ious)), chosen], np.nan)
    fixed, boxed = fixed_point_hits(regions), mean_box_ious(regions)
    return {
        "hit_rate": hits,
        "centre_hit_rate": centre_hits(regions),
        "fixed_point_hit_rate": fixed,
        "mean_box_hit_rate": mean_box_hits(regions),
        "gain": hits - fixed,
        "miou": iou,
        "mean_box_miou": boxed,
        "iou_gain": iou - boxed,
        "box_share": np.array([area(region) for region in regions]),
    }, chosen


def _estimates(values: dict[str, Floats], units: Ints, intervals: Intervals) -> dict[str, Estimate]:
    """The mean of each with its interval, all from the same draws of patients."""
    n_units = len(set(units.tolist()))
    means = resampled_means(np.stack(list(values.values()), axis=1), units, intervals.resampling)
    return {
        name: _interval(_mean(each), means[:, place], n_units, RANGES[name], intervals)
        for place, (name, each) in enumerate(values.items())
    }


def _interval(
    value: float, resampled: Floats, n_units: int, ends: tuple[float, float], intervals: Intervals
) -> Estimate:
    found = percentile(value, resampled, intervals.confidence)
    if math.isnan(found.low) and intervals.resampling.n_resamples and n_units > 1:
        return all_alike(value, n_units, intervals.confidence, *ends)
    return found


def _mean(values: Floats) -> float:
    return float(values.mean())


def _verdict(training: Training, n_units: int, beats: bool) -> Verdict:
    if training == "seen":
        return "seen in training"
    if n_units < FEWEST_UNITS:
        return "too few"
    if not beats:
        return "not validated"
    return "validated" if training == "not seen" else "unknown"


def _numbered(keys: Sequence[str]) -> Ints:
    number: dict[str, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)
