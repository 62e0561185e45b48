"""How well statements and their negations are told apart on images kept out of training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxrzero.maths import AnyFloats, Bools, Ints
from cxrzero.stats.metrics import auroc
from cxrzero.train.data.pairs import Pairs

MIN_IMAGES = 5  # images on either side of a statement for its AUROC to say anything


@dataclass(frozen=True)
class Statement:
    """A text "X" whose negation "no X" is also a text of the pairs, and the validation images that either is true of.

    Attributes:
        positive, negative: indices into `Pairs.texts`.
        images: (M,) indices into `Pairs.images`.
        truth: (M,) bool: True where "X" is true, False where "no X" is.
    """

    positive: int
    negative: int
    images: Ints
    truth: Bools


def find_statements(pairs: Pairs) -> list[Statement]:
    """All statements with at least MIN_IMAGES validation images on either side, within one group each.

    Comparing within a group keeps a source's look from passing for a finding.
    """
    index = {text.lower(): i for i, text in enumerate(pairs.texts)}
    known: dict[tuple[str, int], list[int]] = {}
    for i in np.flatnonzero(pairs.validation):
        for text in pairs.true_of(int(i)):
            known.setdefault((pairs.groups[i], int(text)), []).append(int(i))
    statements = []
    for (group, positive), true_of in known.items():
        negative = index.get(f"no {pairs.texts[positive].lower()}", -1)
        false_of = known.get((group, negative), [])
        if len(true_of) >= MIN_IMAGES and len(false_of) >= MIN_IMAGES:
            truth = np.repeat([True, False], [len(true_of), len(false_of)])
            statements.append(Statement(positive, negative, np.array(true_of + false_of), truth))
    return statements


def mean_auroc(statements: list[Statement], differences: list[AnyFloats]) -> float | None:
    """Mean over statements; None without any.

    Args:
        differences: for each statement (M,) d = cos⁺ − cos⁻ of its images.
    """
    values = [auroc(d.astype(np.float64), s.truth) for s, d in zip(statements, differences, strict=True)]
    return float(np.mean(values)) if values else None


def auroc_spread(statements: list[Statement]) -> float:
    """Standard deviation of `mean_auroc` around 0.5 for a model that tells nothing apart.

    Of one statement √((m + n + 1) / 12mn) (Mann and Whitney 1947); of several the mean, the widest there is, because
    the same images may stand in all of them.
    """
    sizes = [(int(s.truth.sum()), int((~s.truth).sum())) for s in statements]
    return float(np.mean([np.sqrt((m + n + 1) / (12 * m * n)) for m, n in sizes])) if sizes else 0.0


def fit_scale(statements: list[Statement], differences: list[AnyFloats]) -> float | None:
    """The s of p = σ(s·d) with the smallest log loss, each statement weighing the same.

    So p is a probability at the held-out images' own mix of findings. Grid from 0.1 in steps of 2%, three
    decades to 100 and one more for projections that were fitted again (`train/model/readout.py`); None without
    statements.
    """
    if not statements:
        return None
    grid = 0.1 * 1000 ** (np.arange(466) / 349)
    losses = np.zeros_like(grid)
    for statement, d in zip(statements, differences, strict=True):
        signed = np.where(statement.truth, 1, -1) * d.astype(np.float64)
        losses += np.logaddexp(0, -grid[:, None] * signed).mean(axis=1)
    return round(float(grid[losses.argmin()]), 3)
