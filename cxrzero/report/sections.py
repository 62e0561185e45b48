"""The parts of the evaluation report below the main table. A part without content is an empty string."""

from __future__ import annotations

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.evaluate.discrimination import FEW
from cxrzero.evaluate.run import Evaluation
from cxrzero.evaluate.subgroups import Subgroups
from cxrzero.report.cells import Cell, count, estimate, folded, inline, marks, number, p_value, table, text
from cxrzero.report.plots import label_plots

LEGEND = """<p class="legend"><span><i></i>model</span>
<span><i class="point"></i>at its threshold</span>
<span><i class="reader"></i>reader</span>
<span><i class="mean-reader"></i>mean reader</span>
<span><i class="after"></i>calibrated</span>
<span><i class="negatives"></i>negatives</span>
<span><i class="positives"></i>positives</span></p>"""


def plot_section(evaluation: Evaluation) -> str:
    cards = []
    for label in evaluation.scores:
        plots = label_plots(evaluation, label)
        if plots:
            size = f"{label.n_positive:,} positive, {label.n_negative:,} negative"
            title = f"{label.label}: AUROC {inline(label.ranks.auroc)}"
            cards.append(
                f'<article class="card"><h3>{escape(title)} <span class="soft">{size}</span></h3>'
                f'<div class="grid-of-plots">{"".join(plots)}</div></article>'
            )
    return f"<section><h2>Curves</h2>{LEGEND}{''.join(cards)}</section>" if cards else ""


def protocol_section(evaluation: Evaluation) -> str:
    rows = []
    for label in evaluation.scores:
        if label.pair is not None and label.positive_only is not None:
            pair, single = label.pair, label.positive_only
            rows.append(
                [
                    text(label.label),
                    estimate(pair.auroc),
                    estimate(single.auroc),
                    number(pair.auroc.value - single.auroc.value),
                    estimate(pair.average_precision),
                    estimate(single.average_precision),
                ]
            )
    if not rows:
        return ""
    header = ["Label", "AUROC, pair", "AUROC, positive only", "Difference", "AP, pair", "AP, positive only"]
    return (
        "<section><h2>Two ways to ask</h2><p>The pair compares the positive with the negative prompt "
        "(cos⁺ − cos⁻); the other way ranks by the positive prompt alone (cos⁺).</p>"
        f"{table(header, rows, sortable=True)}</section>"
    )


def reader_section(evaluation: Evaluation) -> str:
    if not evaluation.readers:
        return ""
    parts = []
    for metric, name in (("mcc", "MCC"), ("f1", "F1"), ("sensitivity", "Sensitivity"), ("specificity", "Specificity")):
        readers = list(evaluation.readers[0].readers)
        header = [
            "Label",
            "Cases",
            "Positive",
            "Model",
            "Mean reader",
            "Model − mean reader",
            "p",
            "p (Holm)",
            *readers,
        ]
        rows = []
        for each in evaluation.readers:
            difference = each.differences[metric]
            title = text("mean over labels") if each.is_average else text(each.label)
            rows.append(
                [
                    title,
                    count(each.n),
                    count(each.n_positive),
                    estimate(each.model[metric]),
                    estimate(each.mean_reader[metric]),
                    estimate(difference.estimate),
                    p_value(difference.p),
                    p_value(difference.p_holm),
                    *(estimate(each.readers[reader][metric]) for reader in readers),
                ]
            )
        parts.append(f"<h3>{name}</h3>{table(header, rows)}")
    return (
        "<section><h2>Model and readers</h2><p>Computed over the cases that the model and every reader decided. "
        "Intervals "
        "and p-values come from resampling cases, not readers: they hold for these readers, not for readers in general."
        f"</p>{''.join(parts)}</section>"
    )


def comparison_section(
    evaluation: Evaluation, title: str = "Comparison with other predictions", here: str = "here", there: str = "there"
) -> str:
    """Paired differences; `here` and `there` say which table is meant."""
    if not evaluation.comparisons:
        return ""
    differences = ["Difference (DeLong)", "Difference (bootstrap)", "p", "p (Holm)"]
    header = ["Label", "Other table", f"AUROC {here}", f"AUROC {there}", *differences]
    header += [f"AP {here}", f"AP {there}", "Difference", "p", "p (Holm)"]
    rows = []
    for each in evaluation.comparisons:
        auroc, precision = each.auroc, each.average_precision
        rows.append(
            [
                text("mean over labels") if each.is_average else text(each.label),
                text(each.other),
                number(auroc.this),
                number(auroc.other),
                estimate(auroc.analytic),
                estimate(auroc.bootstrap),
                p_value(auroc.p),
                p_value(auroc.p_holm),
                number(precision.this),
                number(precision.other),
                estimate(precision.analytic),
                p_value(precision.p),
                p_value(precision.p_holm),
            ]
        )
    return (
        f"<section><h2>{escape(title)}</h2><p>Only rows that both tables scored are compared. p "
        "(Holm) is corrected for all labels and tables together. AP is the average "
        f"precision.</p>{table(header, rows, sortable=True)}</section>"
    )


def subgroup_section(evaluation: Evaluation) -> str:
    if not evaluation.subgroups:
        return ""
    return f"<section><h2>Subgroups</h2>{''.join(map(_subgroups, evaluation.subgroups))}</section>"


def _subgroups(each: Subgroups) -> str:
    has_points = any(group.points for group in each.groups)
    header = ["Label", "Group", "Positive", "Negative", "AUROC", "Average precision"]
    header += ["MCC", "Sensitivity", "Specificity"] if has_points else []
    judged: list[list[Cell]] = []
    not_judged: list[list[Cell]] = []
    for place, first in enumerate(each.groups[0].scores):
        for group in each.groups:
            label = group.scores[place]
            name = Cell(f"{escape(group.name)} {marks(label.marks)}")
            row = [text(first.label), name, count(label.n_positive), count(label.n_negative)]
            row += [estimate(label.ranks.auroc), estimate(label.ranks.average_precision)]
            if has_points:
                point = group.points.get(label.label)
                missing = [number(float("nan"))] * 3
                row += [estimate(e) for e in (point.mcc, point.sensitivity, point.specificity)] if point else missing
            (judged if label.enough else not_judged).append(row)
    gaps = [
        [text(gap.label), text(gap.high), text(gap.low), estimate(gap.estimate), p_value(gap.p_holm)]
        for gap in each.gaps
    ]
    gap_table = ""
    if gaps:
        caption = (
            "The largest gap in AUROC between groups with enough rows of both classes; p is corrected for all pairs of "
            "groups."
        )
        gap_table = table(["Label", "Higher", "Lower", "Gap", "p (Holm)"], gaps, caption=caption)
    parts = [f"<h3>{escape(each.column)}</h3>", gap_table]
    if judged:
        parts.append(table(header, judged, sortable=True))
    if not_judged:
        why = f"fewer than {FEW} positives or negatives, so nothing can be said of them"
        title = f"{counted(len(not_judged), 'more row')}: {why}"
        parts.append(folded(title, table(header, not_judged, sortable=True)))
    return "".join(parts)
