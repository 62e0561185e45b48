"""What a model that learned nothing would reach: beside every measure stands its chance, and how far luck goes.

R@k asks whether any true answer is among the k nearest of T candidates. With m true ones and a ranking at random that
happens with probability 1 − C(T − m, k) / C(T, k), 1 where k ≥ T; chance is its mean over the queries, so that texts
that many images share, and images with several true texts, count as the metric counts them.

Luck has two forms, and R@5 has to beat both:
    a ranking at random       each query a coin of its own chance: standard deviation √Σp(1−p) / N
    the same lists, shuffled  what the model's own lists give when images change places: a text that is true of many
                              films and near to all of them is found for all, though no film was looked at. Mean and
                              variance over all permutations in closed form (Hoeffding 1951).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from cxrzero.maths import Bools
from cxrzero.train.measure.retrieval import DEPTHS, nearest

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Luck:
    """What R@5, the mean of both directions, comes to without learning.

    Attributes:
        chance, spread: of rankings at random: mean and standard deviation.
        shuffled, shuffled_spread: of the model's own lists when images change places.
    """

    chance: float
    spread: float
    shuffled: float
    shuffled_spread: float

    def limit(self, looks: int) -> float:
        """The value up to which a result is luck, see `z_of`."""
        z = z_of(looks)
        return max(self.chance + z * self.spread, self.shuffled + z * self.shuffled_spread)

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def z_of(looks: int) -> float:
    """Standard deviations that the best of so many looks exceeds by luck in 2.5 of 100 runs (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(1, looks))


def chance_of(truth: Bools) -> dict[str, float]:
    """The chance of every R@k, by the names that `recall` gives them.

    Args:
        truth: (N, T) bool, which text is true of which image.
    """
    found = {}
    for name, answers in (("image_to_text", truth), ("text_to_image", truth.T)):
        for depth in DEPTHS:
            found[f"{name}_r{depth}"] = float(_hit_chances(answers, depth).mean())
    return found


def luck_of(cosines: npt.NDArray[np.floating], truth: Bools, depth: int = DEPTHS[-1]) -> Luck:
    """How far luck goes.

    Args:
        cosines: (N, T) of images and texts.
        truth: (N, T) bool.
    """
    by_chance = [_hit_chances(answers, depth) for answers in (truth, truth.T)]
    shuffled = [_shuffled(nearest(c, depth), t) for c, t in ((cosines, truth), (cosines.T, truth.T))]
    # Both directions come of the same cosines: their errors are taken to go together, the widest there is.
    return Luck(
        chance=float(np.mean([p.mean() for p in by_chance])),
        spread=float(np.mean([math.sqrt((p * (1 - p)).sum()) / len(p) for p in by_chance])),
        shuffled=float(np.mean([mean for mean, _ in shuffled])),
        shuffled_spread=float(np.mean([spread for _, spread in shuffled])),
    )


def _hit_chances(answers: Bools, depth: int) -> npt.NDArray[np.float64]:
    """(Q,) probability of a hit of each query among C candidates; answers: (Q, C) bool."""
    candidates = answers.shape[1]
    false = candidates - answers.sum(axis=1).astype(np.float64)
    missed = np.ones(len(answers))
    for drawn in range(min(depth, candidates)):
        missed *= np.clip(false - drawn, 0, None) / (candidates - drawn)
    return np.asarray(1 - missed)


def _shuffled(near: npt.NDArray[np.int64], answers: Bools) -> tuple[float, float]:
    """Mean and standard deviation of the recall over all ways to hand the queries' lists round.

    Args:
        near: (Q, k) candidates nearest to each query.
        answers: (Q, C) bool.
    """
    queries, candidates = answers.shape
    listed = np.zeros((queries, candidates), np.float32)
    np.put_along_axis(listed, near, 1, axis=1)
    hits = (listed @ answers.T.astype(np.float32) > 0).astype(np.float64)  # (list, query)
    rest = hits - hits.mean(axis=0) - hits.mean(axis=1, keepdims=True) + hits.mean()
    variance = (rest**2).sum() / max(1, queries - 1) / queries**2
    return float(hits.mean()), math.sqrt(variance)
