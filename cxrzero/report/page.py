"""The evaluation report as one HTML page."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.evaluate.run import Evaluation
from cxrzero.report.cells import Cell, count, estimate, marks, number, table
from cxrzero.report.errors import error_section
from cxrzero.report.frame import read_first, report_page
from cxrzero.report.probabilities import probability_section
from cxrzero.report.provenance import join_section, methods_section, provenance_section
from cxrzero.report.sections import (
    comparison_section,
    plot_section,
    protocol_section,
    reader_section,
    subgroup_section,
)
from cxrzero.report.svg import interval_bar
from cxrzero.stats.intervals import Estimate

if TYPE_CHECKING:
    from cxrzero.report.errorfilms import ErrorFilms


def render_evaluation(
    evaluation: Evaluation, created: datetime.datetime | None = None, films: ErrorFilms | None = None
) -> str:
    """The whole page.

    Args:
        created: shown as the time of the evaluation; None leaves it out.
        films: of the worst errors, see `cxrzero.report.errorfilms.draw_errors`.
    """
    return report_page(
        f"Evaluation of {Path(evaluation.options.predictions).name}",
        [f"against {escape(Path(evaluation.options.labels).name)}", _size(evaluation)],
        _sections(evaluation, films),
        "metrics.csv and metrics.json",
        created,
    )


def _sections(evaluation: Evaluation, films: ErrorFilms | None) -> Iterator[str]:
    yield _headline(evaluation)
    yield read_first(evaluation.warnings)
    yield _metrics(evaluation)
    yield _decisions(evaluation)
    yield protocol_section(evaluation)
    yield plot_section(evaluation)
    yield error_section(evaluation, films)
    yield reader_section(evaluation)
    yield comparison_section(evaluation)
    yield subgroup_section(evaluation)
    yield probability_section(evaluation)
    yield join_section(evaluation)
    yield provenance_section(evaluation)
    yield methods_section(evaluation)


def _size(evaluation: Evaluation) -> str:
    dataset = evaluation.dataset
    rows = counted(len(dataset), "study" if dataset.join.level == "study" else "image")
    units = len(set(dataset.unit_keys))
    return rows + (f" of {counted(units, dataset.unit)}" if units != len(dataset) else "")


def _headline(evaluation: Evaluation) -> str:
    macro, point = evaluation.macro, evaluation.macro_point
    of = f"mean of {counted(len(macro.labels), 'label')}"
    boxes = [("AUROC", macro.auroc, of), ("Average precision", macro.average_precision, of)]
    if point is not None:
        of = f"mean of {counted(len(point.labels), 'label')}"
        boxes += [("MCC", point.mcc, of), ("F1", point.f1, of)]
    cells = "".join(
        f"<div><span>{escape(name)}</span><b>{number(each.value).html}</b><span>{_interval(each)}{escape(of)}</span></div>"
        for name, each, of in boxes
    )
    return f'<div class="headline">{cells}</div>'


def _interval(each: Estimate) -> str:
    if each.low != each.low:
        return ""
    return f"{number(each.low).html} to {number(each.high).html}<br>"


def _metrics(evaluation: Evaluation) -> str:
    header = ["Label", "Positive", "Negative", "AUROC", "Average precision"]
    lowest = min([0.5, *(label.ranks.auroc.low for label in evaluation.scores if label.computable)])
    rows = []
    for label in evaluation.scores:
        auroc = estimate(label.ranks.auroc)
        if label.computable:
            bar = interval_bar(label.ranks.auroc.value, label.ranks.auroc.low, label.ranks.auroc.high, lowest)
            auroc = Cell(auroc.html + bar, auroc.sort, auroc.css)
        rows.append(
            [
                Cell(f"{escape(label.label)} {marks(label.marks)}"),
                count(label.n_positive),
                count(label.n_negative),
                auroc,
                estimate(label.ranks.average_precision),
            ]
        )
    caption = f"Each value stands with its {evaluation.options.confidence:.0%} interval."
    note = "" if evaluation.points else (
        "<p class='soft'>MCC, F1, sensitivity and the like need thresholds: give --validation (a separate table), "
        "--calibration or --threshold.</p>"
    )  # fmt: skip
    return f"<section><h2>Results per label</h2>{table(header, rows, sortable=True, caption=caption)}{note}</section>"


def _decisions(evaluation: Evaluation) -> str:
    if not evaluation.points:
        return ""
    header = ["Label", "Threshold", "TP", "FP", "FN", "TN"]
    header += ["MCC", "F1", "Sensitivity", "Specificity", "PPV", "NPV"]
    prevalence = evaluation.options.prevalence
    if prevalence is not None:
        header += [f"PPV at {prevalence:g}", f"NPV at {prevalence:g}"]
    rows = []
    for label in evaluation.scores:
        point = evaluation.points.get(label.label)
        name = Cell(f"{escape(label.label)} {marks(label.marks)}")
        if point is None:
            rows.append([name, *[number(float("nan"))] * (len(header) - 1)])
            continue
        shares = [point.mcc, point.f1, point.sensitivity, point.specificity, point.ppv, point.npv]
        if prevalence is not None:
            shares += [point.ppv_at, point.npv_at]
        counts = (point.tp, point.fp, point.fn, point.tn)
        rows.append([name, number(point.threshold.value, 4), *map(count, counts), *map(estimate, shares)])
    caption = (
        "TP and FP: true and false positives, TN and FN: true and false negatives. A score at the threshold or above "
        "counts as positive."
    )
    return f"<section><h2>At the threshold</h2>{table(header, rows, sortable=True, caption=caption)}</section>"
