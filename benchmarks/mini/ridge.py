"""Ridge regression of labels on features, out of fold, its strength chosen inside the training folds.

All that a fit needs of a fold are its sums (Σx, Σxxᵀ, Σxyᵀ), so each of the nested fits costs one Cholesky
factorisation. Features are standardised and labels centred over the films that are fitted; the strength λ is in units
of a standardised feature's variance: (XᵀX / n + λ I) w = Xᵀy / n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Sums:
    """Of n films: Σx (D,), Σxxᵀ (D, D), Σy (L,), Σxyᵀ (D, L)."""

    n: int
    x: Array
    xx: Array
    y: Array
    xy: Array

    @classmethod
    def of(cls, x: Array, y: Array) -> Sums:
        return cls(len(x), x.sum(axis=0), x.T @ x, y.sum(axis=0), x.T @ y)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.x + other.x, self.xx + other.xx, self.y + other.y, self.xy + other.xy)


@dataclass(frozen=True)
class Ridge:
    """y ≈ x @ weights + bias: weights (D, L), bias (L,)."""

    weights: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.weights + self.bias


def fit(sums: Sums, strengths: Sequence[float]) -> list[Ridge]:
    """One fit for each strength."""
    x, y = sums.x / sums.n, sums.y / sums.n
    covariance = sums.xx / sums.n - np.outer(x, x)
    deviation = np.sqrt(np.maximum(np.diag(covariance), LEAST_DEVIATION**2))
    correlation = covariance / np.outer(deviation, deviation)
    target = (sums.xy / sums.n - np.outer(x, y)) / deviation[:, None]
    found = []
    for strength in strengths:
        matrix = correlation.copy()
        matrix[np.diag_indices_from(matrix)] += strength
        weights = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), target) / deviation[:, None]
        found.append(Ridge(weights, y - x @ weights))
    return found


@dataclass(frozen=True)
class OutOfFold:
    """Attributes:
    scores: (N, L), each film's by the fit of the other folds.
    strengths: of each fold's fit.
    """

    scores: Array
    strengths: list[float]


Quality = Callable[[Array, Rows], float]  # of the scores of some rows; higher is better


class Folds:
    """Films in folds: x (N, D), y (N, L), fold (N,)."""

    def __init__(self, x: Array, y: Array, fold: Rows) -> None:
        self.names = [int(each) for each in np.unique(fold)]
        self.rows = {each: np.flatnonzero(fold == each) for each in self.names}
        self._x = x
        self._sums = {each: Sums.of(x[rows], y[rows]) for each, rows in self.rows.items()}

    def fits_without(self, *left_out: int, strengths: Sequence[float] = STRENGTHS) -> list[Ridge]:
        first, *rest = (sums for each, sums in self._sums.items() if each not in left_out)
        return fit(sum(rest, start=first), strengths)

    def scores(self, fold: int, fits: Sequence[Ridge]) -> list[Array]:
        return [each(self._x[self.rows[fold]]) for each in fits]


def out_of_fold(x: Array, y: Array, fold: Rows, quality: Quality) -> OutOfFold:
    """Scores of all films; `quality` chooses each fold's strength by fits that leave out this fold and one more."""
    folds = Folds(x - x.mean(axis=0), y, fold)  # sums of numbers near 0 lose fewer digits
    inner: dict[tuple[int, int], list[Array]] = {}  # (left out, scored) → scores for each strength
    for a, b in combinations(folds.names, 2):
        fits = folds.fits_without(a, b)
        inner[a, b], inner[b, a] = folds.scores(b, fits), folds.scores(a, fits)
    scores = np.zeros((len(x), y.shape[1]))
    chosen = []
    for each in folds.names:
        others = [other for other in folds.names if other != each]
        chosen.append(_best({other: inner[each, other] for other in others}, folds, quality))
        scores[folds.rows[each]] = folds.scores(each, folds.fits_without(each, strengths=chosen[-1:]))[0]
    return OutOfFold(scores, chosen)


def chosen_by_folds(x: Array, y: Array, fold: Rows, quality: Quality) -> Ridge:
    """The fit of all films, with the strength that serves films best that the fit has not seen."""
    middle = x.mean(axis=0)
    folds = Folds(x - middle, y, fold)
    unseen = {each: folds.scores(each, folds.fits_without(each)) for each in folds.names}
    (found,) = folds.fits_without(strengths=[_best(unseen, folds, quality)])
    return Ridge(found.weights, found.bias - middle @ found.weights)


def _best(scores: Mapping[int, Sequence[Array]], folds: Folds, quality: Quality) -> float:
    """The strength whose scores of these folds are best."""
    rows = np.concatenate([folds.rows[each] for each in scores])
    found = [quality(np.concatenate([each[n] for each in scores.values()]), rows) for n in range(len(STRENGTHS))]
    return STRENGTHS[int(np.argmax(found))]
