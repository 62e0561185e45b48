"""The part of the evaluation report on probabilities: how well they are calibrated, and in which bins."""

from __future__ import annotations

from cxrzero.display.counts import counted
from cxrzero.evaluate.probabilities import ProbabilityQuality
from cxrzero.evaluate.run import Evaluation
from cxrzero.report.cells import count, estimate, folded, number, table, text
from cxrzero.stats.intervals import Estimate


def probability_section(evaluation: Evaluation) -> str:
    if not evaluation.quality:
        return ""
    calibrated = any(each.method for each in evaluation.quality)
    header = ["Label", "Brier score", "ECE"] + (["Calibration", "Brier after", "ECE after"] if calibrated else [])
    rows = []
    for each in evaluation.quality:
        row = [text(each.label), number(each.brier), number(each.ece)]
        if calibrated:
            row += [text(each.method or "–"), number(each.brier_after), number(each.ece_after)]
        rows.append(row)
    return (
        "<section><h2>Probabilities</h2><p>Brier score and expected calibration error (ECE, 15 bins of equal "
        "width): lower is better. Zero-shot scores rank films; without calibration they are not frequencies.</p>"
        f"{table(header, rows, sortable=True)}{''.join(map(_bins, evaluation.quality))}</section>"
    )


def _bins(quality: ProbabilityQuality) -> str:
    """The reliability bins of one label, folded: the plot has them too."""
    header = ["Scores", "Probability from", "to", "Rows", "Mean probability", "Observed share"]
    rows = [
        [
            text(name),
            number(each.low, 2),
            number(each.high, 2),
            count(each.n),
            number(each.mean_probability),
            estimate(Estimate(each.observed, each.observed_low, each.observed_high)),
        ]
        for name, bins in (("as predicted", quality.bins), ("calibrated", quality.bins_after))
        for each in bins
    ]
    return folded(f"Reliability of {quality.label}: {counted(len(rows), 'bin')}", table(header, rows))
