"""The bootstrap: draws of units as counts, so that resampled metrics are array arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxrzero.maths import Bools, Floats, Ints
from cxrzero.stats.metrics import Confusion, Ranking, auroc_from_tallies, average_precision_from_tallies

CHUNK_CELLS = 100_000  # resamples × rows held at once: arrays of 0.8 MB stay in a core's cache


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often and from which seed; the same settings give the same draws."""

    n_resamples: int = 1000
    seed: int = 0


def draw_counts(rng: np.random.Generator, n_units: int, n_resamples: int) -> Ints:
    """(B, U) how often each of `n_units` was drawn in samples of that size with replacement."""
    draws = rng.integers(0, n_units, size=(n_resamples, n_units))
    draws += np.arange(n_resamples)[:, None] * n_units
    return np.bincount(draws.ravel(), minlength=n_resamples * n_units).reshape(n_resamples, n_units)


def unit_draws(n_units: int, how: Resampling) -> Iterator[Ints]:
    """Chunks (b, U) of ordinary bootstrap draws of units; B in all."""
    rng = np.random.default_rng(how.seed)
    for size in _chunks(n_units, how.n_resamples):
        yield draw_counts(rng, n_units, size)


def stratified_draws(truth: Bools, units: Ints, how: Resampling) -> Iterator[Ints]:
    """Chunks (b, n) of row counts, drawn so that a resample has both classes.

    Units with a positive row and units without are drawn separately, each in its own number. With single rows as units
    this is the usual stratified bootstrap. Only where every unit has a positive can negatives be missing in a resample.
    """
    rng = np.random.default_rng(how.seed)
    _, units = np.unique(units, return_inverse=True)
    n_units = int(units.max()) + 1
    with_positive = np.bincount(units, weights=truth, minlength=n_units) > 0
    strata = [stratum for stratum in (np.flatnonzero(with_positive), np.flatnonzero(~with_positive)) if len(stratum)]
    single_rows = n_units == len(units)
    for size in _chunks(len(truth), how.n_resamples):
        counts = np.zeros((size, n_units), dtype=np.int64)
        for stratum in strata:
            counts[:, stratum] = draw_counts(rng, len(stratum), size)
        yield counts[:, units] if not (single_rows and np.array_equal(units, np.arange(n_units))) else counts


def resampled_ranks(ranking: Ranking, units: Ints, how: Resampling) -> tuple[Floats, Floats]:
    """(B,) AUROC and (B,) average precision of stratified resamples; NaN where a class is missing."""
    aurocs, precisions = [], []
    for counts in stratified_draws(ranking.truth, units, how):
        tallies = ranking.tallies(counts)
        aurocs.append(auroc_from_tallies(*tallies))
        precisions.append(average_precision_from_tallies(*tallies))
    return np.concatenate(aurocs), np.concatenate(precisions)


def outcome_table(decisions: Bools, truth: Floats, usable: Bools, units: Ints, n_units: int) -> Floats:
    """(U, 4) each unit's TP, FP, FN and TN among the usable rows."""
    positive = truth == 1
    outcomes = (decisions & positive, decisions & ~positive, ~decisions & positive, ~decisions & ~positive)
    return np.stack([np.bincount(units, weights=outcome & usable, minlength=n_units) for outcome in outcomes], axis=1)


def resampled_confusions(tables: Floats, how: Resampling) -> Confusion:
    """Confusions of shape (B, T) for (T, U, 4) outcome tables, all from the same draws of the U units."""
    n_tables, n_units, _ = tables.shape
    flat = tables.transpose(1, 0, 2).reshape(n_units, n_tables * 4)
    sums = np.concatenate([counts.astype(np.float64) @ flat for counts in unit_draws(n_units, how)])
    tp, fp, fn, tn = np.moveaxis(sums.reshape(-1, n_tables, 4), 2, 0)
    return Confusion(tp, fp, fn, tn)


def resampled_means(values: Floats, units: Ints, how: Resampling) -> Floats:
    """(B, m) means over rows of (n, m) values, all columns from the same draws of the (n,) units; n is not 0."""
    _, units = np.unique(units, return_inverse=True)
    sums = np.stack([np.bincount(units, weights=column) for column in values.T], axis=1)
    sizes = np.bincount(units).astype(np.float64)
    parts = [(counts @ sums) / (counts @ sizes)[:, None] for counts in unit_draws(len(sizes), how)]
    return np.concatenate(parts) if parts else np.empty((0, values.shape[1]))


def _chunks(width: int, total: int) -> Iterator[int]:
    size = max(1, CHUNK_CELLS // max(width, 1))
    for start in range(0, total, size):
        yield min(size, total - start)
