"""The four pictures of a label: ROC, precision and recall, reliability, scores by class."""

from __future__ import annotations

import numpy as np

from cxrzero.display.counts import counted
from cxrzero.evaluate.discrimination import LabelScores
from cxrzero.evaluate.probabilities import ProbabilityQuality
from cxrzero.evaluate.run import Evaluation
from cxrzero.maths import Bools, Floats
from cxrzero.report.cells import inline
from cxrzero.report.svg import Plot, Point, nice_ticks
from cxrzero.stats.metrics import Ranking, ReliabilityBin

MAX_POINTS = 200  # of a curve: more cannot be told apart at this size
HISTOGRAM_BINS = 30


def label_plots(evaluation: Evaluation, found: LabelScores) -> list[str]:
    """The label's pictures as SVG, each with what it comes to in its title; empty where a class is missing."""
    dataset, label = evaluation.dataset, found.label
    rows = dataset.usable(label)
    scores, truth = dataset.scores[label][rows], dataset.truth[label].values[rows] == 1
    if truth.all() or not truth.any():
        return []
    tp, fp = (tally[0] for tally in Ranking.of(scores, truth).tallies())
    quality = next((each for each in evaluation.quality if each.label == label), None)
    point = evaluation.points.get(label)
    plots = [
        _roc(evaluation, label, tp, fp).render(f"ROC: AUROC {inline(found.ranks.auroc)}"),
        _precision_recall(evaluation, label, tp, fp).render(
            f"Precision and recall: average precision {inline(found.ranks.average_precision)}"
        ),
    ]
    if quality is not None:
        plots.append(_reliability(quality).render(_reliability_heading(quality)))
    where = f", threshold {point.threshold.value:.3f}" if point else ""
    histogram = _histogram(label, scores, truth, point.threshold.value if point else None)
    return [*plots, histogram.render(f"Scores by class{where}")]


def _roc(evaluation: Evaluation, label: str, tp: Floats, fp: Floats) -> Plot:
    plot = Plot(f"ROC curve of {label}", "1 − specificity", "sensitivity")
    plot.line([(0, 0), (1, 1)], "chance")
    plot.line(_thin(np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])), "curve")
    for comparison in (each for each in evaluation.readers if each.label == label):
        for name, metrics in comparison.readers.items():
            plot.dot(
                _operating(metrics["sensitivity"].value, metrics["specificity"].value),
                "reader",
                f"reader {name}",
                "diamond",
            )
        mean = comparison.mean_reader
        plot.dot(
            _operating(mean["sensitivity"].value, mean["specificity"].value), "mean-reader", "mean reader", "square"
        )
    if point := evaluation.points.get(label):
        plot.dot(_operating(point.sensitivity.value, point.specificity.value), "model", "model at its threshold")
    return plot


def _precision_recall(evaluation: Evaluation, label: str, tp: Floats, fp: Floats) -> Plot:
    plot = Plot(f"Precision-recall curve of {label}", "recall (sensitivity)", "precision (PPV)")
    prevalence = tp[-1] / (tp[-1] + fp[-1])
    plot.line([(0, prevalence), (1, prevalence)], "chance")
    recall, precision = tp / tp[-1], tp / (tp + fp)
    plot.line(_thin(np.append(0, recall), np.append(precision[0], precision)), "curve")
    if (point := evaluation.points.get(label)) and point.ppv.value == point.ppv.value:
        plot.dot((point.sensitivity.value, point.ppv.value), "model", "model at its threshold")
    return plot


def _reliability(quality: ProbabilityQuality) -> Plot:
    plot = Plot(f"Reliability of {quality.label}", "mean probability", "observed share")
    plot.line([(0, 0), (1, 1)], "chance")
    for bins, css, name in ((quality.bins, "before", "as predicted"), (quality.bins_after, "after", "calibrated")):
        for b in bins:
            plot.whisker(b.mean_probability, b.observed_low, b.observed_high, css)
        plot.line(((b.mean_probability, b.observed) for b in bins), css)
        for b in bins:
            plot.dot((b.mean_probability, b.observed), css, f"{name}: {_bin(b)}")
    for b in quality.bins_after or quality.bins:
        plot.note((b.mean_probability, b.observed_high), f"{b.n:,}")
    return plot


def _reliability_heading(quality: ProbabilityQuality) -> str:
    after = "" if quality.method is None else f", calibrated {quality.ece_after:.3f}"
    return f"Reliability, with counts: ECE {quality.ece:.3f}{after}"


def _histogram(label: str, scores: Floats, truth: Bools, threshold: float | None) -> Plot:
    low, high = float(scores.min()), float(scores.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    shares = [np.histogram(scores[member], edges)[0] / max(member.sum(), 1) for member in (~truth, truth)]
    top = float(max(share.max() for share in shares)) * 1.05
    plot = Plot(
        f"Scores of {label} by class", "score", "share of class",
        (low, high), (0.0, top), nice_ticks(low, high, 4), nice_ticks(0.0, top, 4),
    )  # fmt: skip
    for share, css in zip(shares, ("negatives", "positives"), strict=True):
        for place in np.flatnonzero(share):
            plot.bar(edges[place], edges[place + 1], share[place], css)
    if threshold is not None:
        plot.vertical(threshold, "threshold")
    return plot


def _operating(sensitivity: float, specificity: float) -> Point:
    return 1 - specificity, sensitivity


def _thin(x: Floats, y: Floats) -> list[Point]:
    """Keep at most MAX_POINTS points of a curve, first and last among them; corners of short curves all stay."""
    if len(x) > MAX_POINTS:
        # Even steps along the curve's length, so that steep and flat parts keep their shape.
        length = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        keep = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS)))
        keep = np.unique(np.append(keep, len(x) - 1))
        x, y = x[keep], y[keep]
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _bin(each: ReliabilityBin) -> str:
    interval = f"{each.observed_low:.2f} to {each.observed_high:.2f}"
    return (
        f"{counted(each.n, 'row')}, probability {each.mean_probability:.2f}, observed {each.observed:.2f} ({interval})"
    )
