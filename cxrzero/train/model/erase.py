"""LEACE: the smallest affine change of features after which no linear classifier tells groups apart.

Belrose et al., "LEACE: Perfect linear concept erasure in closed form", NeurIPS 2023, theorems 4.2 and 4.3. All groups
count the same, however many films they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrzero.maths import Ints
from cxrzero.train.data.grouped import PARTS, GroupedFilms

Floats = npt.NDArray[np.float64]
# Of the covariance, replaced by as much of the mean variance in every direction: fewer films than features leave some
# directions without any. Erasure is exact whatever this is, which decides only what counts as a small change.
SHRINKAGE = 0.01


@dataclass(frozen=True)
class Moments:
    """Of features x and the one-hot group z.

    Attributes:
        mean: (F,).
        covariance: (F, F) of x, shrunk.
        cross: (F, G) covariance of x and z.
    """

    mean: Floats
    covariance: Floats
    cross: Floats


@dataclass(frozen=True)
class Eraser:
    """r(x) = x − change (x − mean).

    Attributes:
        change: (F, F), W⁺ P W of the paper.
    """

    mean: Floats
    change: Floats

    def __call__(self, features: Floats) -> Floats:
        """(N, F) → (N, F)."""
        return features - (features - self.mean) @ self.change.T

    def folded(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """The linear layer that gives for x what (weight (D, F), bias (D,)) gives for r(x)."""
        return weight - weight @ self.change, bias + weight @ (self.change @ self.mean)


def moments(features: Floats, groups: Ints, count: int) -> Moments:
    """Means over the groups' own means.

    Args:
        features: (N, F).
        groups: (N,) from 0 to count - 1.
    """
    sizes = np.bincount(groups, minlength=count)
    weights = 1 / (np.count_nonzero(sizes) * sizes[groups])
    mean = weights @ features
    centred = features - mean
    covariance = (centred.T * weights) @ centred
    level = np.trace(covariance) / len(mean)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(mean))
    return Moments(mean, shrunk, centred.T @ (np.eye(count)[groups] * weights[:, None]))


def fit_eraser(features: Floats, groups: Ints, count: int) -> Eraser:
    """The change that leaves nothing of the groups; arguments as of `moments`."""
    found = moments(features, groups, count)
    values, directions = np.linalg.eigh(found.covariance)
    roots = np.sqrt(np.maximum(values, np.finfo(np.float64).tiny))
    whiten, colour = (directions / roots) @ directions.T, (directions * roots) @ directions.T
    left, sizes, _ = np.linalg.svd(whiten @ found.cross, full_matrices=False)
    left = left[:, sizes > sizes.max() * len(left) * np.finfo(np.float64).eps]
    return Eraser(found.mean, colour @ left @ (left.T @ whiten))


def told_apart(features: Floats, films: GroupedFilms, embed: Callable[[Floats], Floats], erase: bool) -> float:
    """Balanced accuracy of a linear classifier of the films' groups by their embeddings; 1 / groups by chance.

    The group is that of the nearest mean, in the metric of the covariance within groups (Fisher's discriminant). A
    film is classified by what other patients' films teach: the classifier learns from another part, and the eraser
    from the two parts beside, since one that knew the film would overdo it.

    Args:
        features: (N, F).
        embed: (N, F) → (N, D).
        erase: whether the groups are erased from the features before.
    """
    predicted = np.empty(len(features), np.int64)
    for part in range(PARTS):
        test, train, beside = films.parts == part, films.parts == part ^ 1, films.parts // 2 != part // 2
        changed = fit_eraser(features[beside], films.groups[beside], films.count)(features) if erase else features
        embeds = embed(changed)
        known = moments(embeds[train], films.groups[train], films.count)
        means = known.mean[:, None] + films.count * known.cross  # (D, G)
        within = moments(embeds[train] - means.T[films.groups[train]], films.groups[train], films.count).covariance
        classifier = np.linalg.lstsq(within, means, rcond=None)[0]
        predicted[test] = (embeds[test] @ classifier - (means * classifier).sum(axis=0) / 2).argmax(axis=1)
    right = predicted == films.groups
    return float(np.mean([right[films.groups == group].mean() for group in range(films.count)]))
