"""Bootstrap intervals: what belongs together (a patient's films) is drawn together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.maths import Bools, Floats
from cxrzero.stats.metrics import aurocs

RESAMPLES = 1000
ENOUGH = 20  # positives below which a finding says little and stays out of the main macro average


def resample_weights(clusters: Sequence[str], resamples: int = RESAMPLES) -> Floats:
    """(resamples + 1, N): how often each film is drawn; the first row is the sample itself."""
    _, index = np.unique(clusters, return_inverse=True)
    count = index.max() + 1
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, len(index))), draws[:, index]])


def interval(samples: Floats) -> list[float]:
    """[value, low, high], 95%; a resample without both classes is left out."""
    low, high = np.nanpercentile(samples[1:], [2.5, 97.5])
    return [round(float(value), 4) for value in (samples[0], low, high)]


def told(numbers: Sequence[float], signed: bool = False) -> str:
    """An interval as it stands in tables: 0.691 (0.618–0.758), or −0.012 (−0.029 to +0.006)."""
    if signed:
        value, low, high = (f"{number:+.3f}".replace("-", "−") for number in numbers)
        return f"{value} ({low} to {high})"
    value, low, high = (f"{number:.3f}" for number in numbers)
    return f"{value} ({low}–{high})"


def common(truth: dict[str, Bools], least: int = ENOUGH) -> list[str]:
    """The labels with enough positives, and not on every film."""
    return [label for label, values in truth.items() if values.sum() >= least and not values.all()]


def macro(scores: dict[str, Floats], truth: dict[str, Bools], labels: Sequence[str], weights: Floats) -> Floats:
    """(B,) mean AUROC over the labels."""
    mean: Floats = np.mean([aurocs(scores[label], truth[label], weights) for label in labels], axis=0)
    return mean
