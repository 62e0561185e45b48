"""The order of films: by one label, by the highest of all labels, by chance, and places for those that wait."""

from __future__ import annotations

import numpy as np

from cxrzero.maths import Bools, Float32s, Floats, Ints
from cxrzero.stats.agreement import shares_below


def ranks(values: Float32s, scored: Bools) -> Float32s:
    """(N, L) values → for each the share of its column that lies below it, ties half: from 0 to 1, comparable between
    labels.

    NaN, and rows that are not scored, take no part and are NaN.
    """
    shares = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        known = scored & ~np.isnan(values[:, column])
        shares[known, column] = shares_below(values[known, column])
    return shares


def highest(values: Float32s) -> tuple[Float32s, Ints]:
    """(N, L) → each row's highest value, NaN where all are, and the column that has it."""
    filled = np.where(np.isnan(values), -np.inf, values)
    column = filled.argmax(axis=1)
    top = np.take_along_axis(values, column[:, None], axis=1)[:, 0]
    return top, column


def descending(keys: Float32s, scored: Bools) -> Ints:
    """Rows that are scored, the highest key first; equal ones in the order of the table."""
    rows = np.flatnonzero(scored & ~np.isnan(keys))
    return rows[np.argsort(-keys[rows], kind="stable")]


def by_chance(scored: Bools, seed: int) -> Ints:
    """Rows that are scored, in an order that the seed decides."""
    return np.random.default_rng(seed).permutation(np.flatnonzero(scored))


def with_oldest(order: Ints, received: Floats, every: int, top: int) -> tuple[list[int], set[int]]:
    """Give every `every`-th place to the film, of those not yet placed, that came in first.

    So the film that has waited longest is read after `every` films at most, whatever its score.

    Args:
        order: rows, the most urgent first.
        received: (N,) when each row's film came in; NaN where nobody knows: such a row has its place by score only.

    Returns:
        The first `top` rows, and those of them that have their place because they waited.
    """
    known = order[~np.isnan(received[order])]
    waiting = iter(known[np.argsort(received[known], kind="stable")].tolist())
    urgent = iter(order.tolist())
    placed: dict[int, None] = {}
    waited: set[int] = set()
    while len(placed) < min(top, len(order)):
        is_turn = (len(placed) + 1) % every == 0
        row = next((row for row in waiting if row not in placed), None) if is_turn else None
        if row is not None:
            waited.add(row)
        else:
            row = next(row for row in urgent if row not in placed)
        placed[row] = None
    return list(placed), waited
