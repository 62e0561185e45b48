"""How far two scores of the same rows agree, without a truth: rank correlations, kappa, McNemar, distance of
distributions.

The (n,) influences of the rows make the intervals, as in `influence.py`. Derivatives are with respect to each row's
weight, of the sample version of the metric with ties and all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cxrzero.maths import AnyFloats, Bools, Floats, Ints
from cxrzero.stats.influence import Influence
from cxrzero.stats.metrics import Confusion, count_units
from cxrzero.stats.resample import Resampling, outcome_table, resampled_confusions, unit_draws

NAN = float("nan")
ROUNDING = 1e-12


def shares_below(values: AnyFloats) -> Floats:
    """(n,) numbers → for each the share of all that lies below it, ties half: its rank, from 0 to 1."""
    ordered = np.sort(values)
    below, to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    shares: Floats = (below + to) / (2 * max(1, len(values)))
    return shares


def spearman_influence(one: Floats, other: Floats, units: Ints) -> Influence:
    """Spearman's rank correlation, tied values having the mean of their ranks, and the influence of the rows on it.

    NaN where either has one value only.
    """
    n = len(one)
    ranks = [shares_below(one), shares_below(other)]
    spreads = [float(rank.std()) if n else 0.0 for rank in ranks]
    if min(spreads) == 0:
        return Influence(NAN, np.zeros(n))
    u, v = ((rank - rank.mean()) / spread for rank, spread in zip(ranks, spreads, strict=True))
    value = _whole(float(np.dot(u, v)) / n)
    rows = u * v - value * (u**2 + v**2) / 2
    # A row also moves the ranks of those above it.
    rows += _sums_above(one, v - value * u) / (n * spreads[0])
    rows += _sums_above(other, u - value * v) / (n * spreads[1])
    return Influence(value, _small_sample(rows / n, units))


def tau_b_influence(one: Floats, other: Floats, units: Ints) -> Influence:
    """Kendall's tau-b and the influence of the rows on it, in O(n log n).

    Pairs that are tied in either count for neither side; each variable's own ties leave the denominator (Kendall,
    Biometrika 1945; 33:239–251), so that two scores that tie the same rows and agree in all others have 1. NaN where
    either has one value only.
    """
    n = len(one)
    net = _net_concordant(one, other)
    differing = [n - _equal(values) for values in (one, other)]
    pairs = [float(each.sum()) for each in differing]
    if min(pairs, default=0) == 0:
        return Influence(NAN, np.zeros(n))
    scale = math.sqrt(pairs[0]) * math.sqrt(pairs[1])
    value = _whole(float(net.sum()) / scale)
    rows = 2 * net / scale - value * (differing[0] / pairs[0] + differing[1] / pairs[1])
    return Influence(value, _small_sample(rows, units))


def kappa(table: Confusion) -> Floats:
    """Cohen's kappa (1960), of tp both, fp only the one, fn only the other, tn neither; NaN where both always say the
    same one thing."""
    n = table.tp + table.fp + table.fn + table.tn
    one, other = (table.tp + table.fp) / n, (table.tp + table.fn) / n
    agreed, by_chance = (table.tp + table.tn) / n, one * other + (1 - one) * (1 - other)
    room = 1 - by_chance
    found: Floats = np.divide(agreed - by_chance, room, out=np.full(np.shape(room), NAN), where=room > 0)
    return found


def kappa_influence(one: Bools, other: Bools, units: Ints) -> Influence:
    """Cohen's kappa of (n,) decisions and, by the delta method, the influence of the rows on it."""
    value = float(kappa(Confusion.of(one, other)))
    if math.isnan(value):
        return Influence(value, np.zeros(len(one)))
    p, q = float(one.mean()), float(other.mean())
    agreed, by_chance = float((one == other).mean()), p * q + (1 - p) * (1 - q)
    expected = np.where(one, q, 1 - q) + np.where(other, p, 1 - p) - 2 * by_chance
    rows = ((one == other) - agreed) / (1 - by_chance) - expected * (1 - agreed) / (1 - by_chance) ** 2
    return Influence(value, _small_sample(rows / len(one), units))


def share_gap_influence(one: Bools, other: Bools, units: Ints) -> Influence:
    """Share that the other flags minus the share that the one does, of the same rows."""
    gaps = other.astype(np.float64) - one
    value = float(gaps.mean())
    return Influence(value, _small_sample((gaps - value) / len(gaps), units))


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Two-sided exact p-value that a row flagged by one alone is as likely the one's as the other's.

    McNemar's test by its binomial distribution (Psychometrika 1947; 12:153–157); 1 where no row differs.
    """
    n, smaller = only_one + only_other, min(only_one, only_other)
    if n == 0:
        return 1.0
    steps = np.arange(1, smaller + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(n - steps + 1) - np.log(steps))]) - n * math.log(2)
    top = float(logs.max())
    return min(1.0, 2 * float(np.exp(logs - top).sum()) * math.exp(top))


def largest_gap(one: Floats, other: Floats) -> float:
    """The largest distance between two distribution functions (Kolmogorov and Smirnov); NaN of nothing."""
    if not len(one) or not len(other):
        return NAN
    at = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(values), at, "right") / len(values) for values in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def tied_share(values: Floats) -> float:
    """Share of the values that another one equals."""
    return float((_equal(values) > 1).mean()) if len(values) else NAN


def resampled_spearman(one: Floats, other: Floats, units: Ints, how: Resampling) -> Floats:
    """(B,) Spearman's correlations of samples of the units; NaN where a sample has one value only."""
    _, units = np.unique(units, return_inverse=True)
    ranked = [_Order.of(values) for values in (one, other)]
    parts = []
    for draws in unit_draws(int(units.max()) + 1, how):
        counts = draws[:, units].astype(np.float64)
        n = counts.sum(axis=1, keepdims=True)
        u, v = (order.weighted_ranks(counts) for order in ranked)
        u, v = (each - (counts * each).sum(axis=1, keepdims=True) / n for each in (u, v))
        uv, uu, vv = (np.einsum("bi,bi,bi->b", counts, *pair) for pair in ((u, v), (u, u), (v, v)))
        scale = np.sqrt(uu) * np.sqrt(vv)
        parts.append(np.divide(uv, scale, out=np.full(len(uv), NAN), where=scale > 0))
    return np.concatenate(parts) if parts else np.empty(0)


def resampled_kappas(one: Bools, other: Bools, units: Ints, how: Resampling) -> Floats:
    """(B,) kappas of samples of the units."""
    _, units = np.unique(units, return_inverse=True)
    every = np.ones(len(one), bool)
    tables = outcome_table(one, other.astype(np.float64), every, units, int(units.max()) + 1)
    return kappa(resampled_confusions(tables[None], how))[:, 0]


@dataclass(frozen=True, slots=True)
class _Order:
    """Values in ascending order, as groups of equal ones."""

    order: Ints
    starts: Ints
    group: Ints

    @classmethod
    def of(cls, values: Floats) -> _Order:
        _, group = np.unique(values, return_inverse=True)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        return cls(order, starts, group)

    def weighted_ranks(self, counts: Floats) -> Floats:
        """(B, n) how often each row is there → (B, n) ranks in each sample, ties the mean."""
        tally = np.add.reduceat(counts[:, self.order], self.starts, axis=1)
        ranks: Floats = (np.cumsum(tally, axis=1) - tally / 2)[:, self.group]
        return ranks


def _whole(correlation: float) -> float:
    """±1 where it is, but for rounding."""
    return math.copysign(1.0, correlation) if abs(correlation) > 1 - ROUNDING else correlation


def _small_sample(rows: Floats, units: Ints) -> Floats:
    """Scale by √(I/(I − 1)), I the number of units, as the variance of a mean is."""
    n_units = count_units(units)
    return rows * math.sqrt(n_units / (n_units - 1)) if n_units > 1 else np.zeros(len(rows))


def _sums_above(values: Floats, amounts: Floats) -> Floats:
    """(n,) for each row the amounts of the rows with a higher value, and half of those with the same."""
    _, group = np.unique(values, return_inverse=True)
    sums = np.bincount(group, weights=amounts)
    return (np.cumsum(sums[::-1])[::-1] - sums / 2)[group]


def _equal(values: Floats) -> Ints:
    """(n,) how many have each row's value, itself among them."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    equal: Ints = counts[group]
    return equal


def _net_concordant(one: Floats, other: Floats) -> Floats:
    """(n,) for each row: how many others lie on the same side of it in both, minus how many on different sides."""
    n = len(one)
    (a, b), equal = (np.unique(values, return_inverse=True)[1] for values in (one, other)), (_equal(one), _equal(other))
    lower = [np.searchsorted(np.sort(group), group, "left") for group in (a, b)]
    by_one = np.lexsort((-b, a))  # of rows that `one` ties the higher come first, so that none counts as before another
    both_lower = np.empty(n, np.int64)
    both_lower[by_one] = _smaller_before(b[by_one])
    tied_both = _equal((a * (int(b.max(initial=0)) + 1) + b).astype(np.float64))
    same_other = _tied_before(b, a)  # lower in one, tied in the other
    same_one = _tied_before(a, b)
    lower_higher = lower[0] - both_lower - same_other
    higher_lower = lower[1] - both_lower - same_one
    higher_tied = equal[1] - same_other - tied_both
    both_higher = n - lower[0] - equal[0] - higher_lower - higher_tied
    net: Floats = (both_lower + both_higher - lower_higher - higher_lower).astype(np.float64)
    return net


def _tied_before(tied: Ints, values: Ints) -> Ints:
    """(n,) for each row: how many have the same number in `tied` and a lower one in `values`."""
    order = np.lexsort((values, tied))
    at = np.arange(len(order))
    changes = np.diff(tied[order], prepend=-1) != 0
    first_of_tied = np.maximum.accumulate(np.where(changes, at, 0))
    first_of_both = np.maximum.accumulate(np.where(changes | (np.diff(values[order], prepend=-1) != 0), at, 0))
    found = np.empty(len(order), np.int64)
    found[order] = first_of_both - first_of_tied
    return found


def _smaller_before(values: Ints) -> Ints:
    """(n,) for each of n whole numbers from 0: how many before it are smaller.

    Bit by bit from the highest, rows that agree so far stand together in their order: of these, rows with a 0 before a
    row with a 1 are smaller than it.
    """
    n = len(values)
    found, place, at = np.zeros(n, np.int64), np.arange(n), np.arange(n)
    for bit in reversed(range(int(values.max(initial=0)).bit_length())):
        zero = (values >> bit) & 1 == 0
        starts = np.flatnonzero(np.diff(values >> (bit + 1), prepend=-1))
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
        start = starts[group]
        zeros = np.cumsum(zero) - zero
        before = zeros - zeros[start]
        found[place] += np.where(zero, 0, before)
        n_zeros = np.add.reduceat(zero, starts, dtype=np.int64)[group]
        to = start + np.where(zero, before, n_zeros + at - start - before)
        moved, moved_place = np.empty(n, np.int64), np.empty(n, np.int64)
        moved[to], moved_place[to] = values, place
        values, place = moved, moved_place
    return found
