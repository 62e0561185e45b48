"""The four pictures of a label: ranks, flagged films in common, distribution against distribution, scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.compare.flips import Flip
from cxrzero.compare.pairs import Pairs
from cxrzero.maths import Floats
from cxrzero.report.plots import HISTOGRAM_BINS, MAX_POINTS
from cxrzero.report.svg import Plot, nice_ticks
from cxrzero.stats.agreement import shares_below

DIAGONAL = ((0.0, 0.0), (1.0, 1.0))
LEGEND = """<p class="legend"><span><i class="point"></i>film</span>
<span><i class="reader"></i>films that flip most</span>
<span><i class="negatives"></i>scores in A</span>
<span><i class="positives"></i>scores in B</span></p>"""


def label_plots(pairs: Pairs, label: str, flips: Sequence[Flip]) -> list[str]:
    """The label's pictures as SVG; empty where no film has two scores."""
    rows = np.flatnonzero(~np.any(np.isnan(pairs.scores[label]), axis=0))
    if not len(rows):
        return []
    a, b = (scores[rows] for scores in pairs.scores[label])
    return [
        _ranks(label, a, b, flips).render("Ranks"),
        _in_common(label, a, b).render("Of the highest films, in both tables"),
        _quantiles(label, a, b).render("Quantiles of the scores"),
        _histogram(label, a, b).render("Scores"),
    ]


def _ranks(label: str, a: Floats, b: Floats, flips: Sequence[Flip]) -> Plot:
    plot = Plot(f"Ranks of films by {label} in both tables", "share of films below, in A", "share of films below, in B")
    plot.line(DIAGONAL, "chance")
    below = shares_below(a), shares_below(b)
    # Every so many films in A's order stand for all.
    chosen = np.argsort(below[0], kind="stable")[:: max(1, len(a) // MAX_POINTS)]
    for place in chosen.tolist():
        plot.dot(
            (float(below[0][place]), float(below[1][place])), "before", f"{a[place]:.4f} in A, {b[place]:.4f} in B"
        )
    for flip in flips:
        plot.dot((flip.below_a, flip.below_b), "reader", flip.path, "diamond")
    return plot


def _in_common(label: str, a: Floats, b: Floats) -> Plot:
    """For each share of films that both flag: how many of those that A flags B flags, too."""
    plot = Plot(
        f"Films that both tables flag for {label}", "share of films that each flags", "of these flagged by both"
    )
    plot.line(DIAGONAL, "chance")
    from_top = [np.argsort(np.argsort(-each, kind="stable"), kind="stable") for each in (a, b)]
    counts = np.cumsum(np.bincount(np.maximum(*from_top), minlength=len(a)))
    flagged = np.unique(np.linspace(1, len(a), min(len(a), MAX_POINTS)).round().astype(np.int64))
    plot.line(((n / len(a), float(counts[n - 1]) / n) for n in flagged.tolist()), "curve")
    return plot


def _quantiles(label: str, a: Floats, b: Floats) -> Plot:
    low, high = _range(a, b)
    ticks = nice_ticks(low, high, 4)
    plot = Plot(
        f"Quantiles of the scores for {label}", "score in A", "score in B", (low, high), (low, high), ticks, ticks
    )
    plot.line([(low, low), (high, high)], "chance")
    shares = np.linspace(0, 1, min(len(a), MAX_POINTS))
    plot.line(zip(np.quantile(a, shares).tolist(), np.quantile(b, shares).tolist(), strict=True), "curve")
    return plot


def _histogram(label: str, a: Floats, b: Floats) -> Plot:
    low, high = _range(a, b)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    shares = [np.histogram(each, edges)[0] / len(each) for each in (a, b)]
    top = float(max(each.max() for each in shares))
    plot = Plot(
        f"Scores for {label} in both tables", "score", "share of films",
        (low, high), (0, top), nice_ticks(low, high, 4), nice_ticks(0, top, 4),
    )  # fmt: skip
    for css, each in zip(("negatives", "positives"), shares, strict=True):
        for place in np.flatnonzero(each).tolist():
            plot.bar(float(edges[place]), float(edges[place + 1]), float(each[place]), css)
    return plot


def _range(a: Floats, b: Floats) -> tuple[float, float]:
    low, high = float(min(a.min(), b.min())), float(max(a.max(), b.max()))
    margin = (high - low) * 0.02 or 0.01
    return low - margin, high + margin
