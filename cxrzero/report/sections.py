"""The parts of the evaluation report below the main table. A part without content is an empty string."""

from __future__ import annotations

import json
from pathlib import Path

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.evaluate.run import Evaluation
from cxrzero.evaluate.subgroups import Subgroups
from cxrzero.report.cells import Cell, count, estimate, facts, marks, number, p_value, table, text
from cxrzero.report.plots import label_plots

MISMATCHES = {
    "only_predictions": "in the predictions only",
    "only_references": "in the labels only",
    "duplicate_predictions": "more than once in the predictions",
    "duplicate_references": "more than once in the labels",
}

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
        plots = label_plots(evaluation, label.label)
        if plots:
            size = f"{label.n_positive:,} positive, {label.n_negative:,} negative"
            cards.append(
                f'<article class="card"><h3>{escape(label.label)} <span class="soft">{size}</span></h3>'
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


def comparison_section(evaluation: Evaluation) -> str:
    if not evaluation.comparisons:
        return ""
    header = ["Label", "Other table", "AUROC here", "AUROC there", "Difference (DeLong)", "Difference (bootstrap)", "p",
              "p (Holm)", "AP here", "AP there", "Difference", "p", "p (Holm)"]  # fmt: skip
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
        "<section><h2>Comparison with other predictions</h2><p>Only rows that both tables scored are compared. p "
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
    rows = []
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
            rows.append(row)
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
    return f"<h3>{escape(each.column)}</h3>{gap_table}{table(header, rows, sortable=True)}"


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
        f"{table(header, rows, sortable=True)}</section>"
    )


def join_section(evaluation: Evaluation) -> str:
    dataset, report = evaluation.dataset, evaluation.dataset.join
    status = ", ".join(f"{n:,} {state}" for state, n in dataset.rows.n_by_status.items())
    films = f" to {counted(report.n_matched, 'film')}" if report.n_repeated else ""
    pairs = [
        ("Joined by", escape(report.key)),
        ("Level", "one score per study" if report.level == "study" else "one prediction per label row"),
        ("Prediction rows", f"{report.n_predictions:,} ({escape(status)})"),
        ("Label rows", f"{report.n_references:,}, of which {report.n_matched_rows:,} joined{films}"),
        ("Joined without a score", f"{dataset.rows.n_unscored:,}{_examples(dataset.rows.unscored_examples)}"),
    ]
    for kind, words in MISMATCHES.items():
        n, examples = getattr(report, f"n_{kind}"), report.examples.get(kind, ())
        pairs.append((f"Identifiers {words}", f"{n:,}{_examples(examples)}"))
    match = dataset.match
    named = "; ".join(
        escape(match.synonyms.get(label) or f"{label} = {' or '.join(names)}")
        for label, names in match.names.items()
        if names != (label,)
    )
    pairs.append(("Labels under another name", named or "none"))
    missing = "; ".join(
        escape(label + (f" (nearest: {near})" if near else "")) for label, near in match.only_predicted.items()
    )
    pairs.append(("Predicted, not in the labels", missing or "none"))
    pairs.append(("In the labels, not predicted", escape(", ".join(match.only_reference)) or "none"))
    lost = {label: n for label, n in dataset.rows.unscored_positives.items() if n}
    if lost:
        pairs.append(("Positives without a score", escape(", ".join(f"{label} {n}" for label, n in lost.items()))))
    header = ["Label", "Unknown in the labels", "Without a score", "Uncertain (−1) cells", "Blank cells", "Blank means"]
    rows = [
        [
            text(s.label),
            count(s.n_unknown),
            count(s.n_unscored),
            count(s.n_uncertain),
            count(s.n_blank),
            text(s.blank_means or "–"),
        ]
        for s in evaluation.scores
    ]
    notes = "".join(f"<p class='soft'>{escape(note)}</p>" for note in dataset.notes)
    return f"<section><h2>What was joined</h2>{facts(pairs)}{notes}{table(header, rows)}</section>"


def provenance_section(evaluation: Evaluation) -> str:
    options, manifest = evaluation.options, evaluation.dataset.manifest
    pairs = [
        ("Predictions", escape(Path(options.predictions).name)),
        ("Labels", escape(Path(options.labels).name)),
        ("Independent unit", escape(evaluation.dataset.unit_name)),
        ("Thresholds", escape(_threshold_source(evaluation))),
        ("Bootstrap", f"{counted(options.n_resamples, 'resample')}, seed {options.seed}"),
    ]
    if manifest is None:
        pairs.append(("Model", "unknown, because no run record (.run.json) lies beside the table"))
    else:
        for model in manifest.get("models") or []:
            name, fingerprint = (escape(str(model.get(key))) for key in ("name", "fingerprint"))
            pairs.append(("Model", f"{name} <code>{fingerprint}</code>"))
        for key in ("cxrzero", "precision", "backend", "device"):
            if manifest.get(key) is not None:
                pairs.append((f"Predicted with: {key}", escape(str(manifest[key]))))
        for key in ("scoring", "preprocess"):
            pairs.append((key.capitalize(), f"<code>{escape(json.dumps(manifest.get(key)))}</code>"))
    body = facts(pairs)
    prompts = (manifest or {}).get("prompts") or []
    if prompts:
        sides = ("positive", "negative")
        rows = [
            [text(p.get("label")), *(Cell("<br>".join(map(escape, p.get(s) or []))) for s in sides)] for p in prompts
        ]
        body += table(["Label", "Positive prompts", "Negative prompts"], rows)
    return f"<section><h2>Provenance</h2>{body}</section>"


def methods_section(evaluation: Evaluation) -> str:
    ranks = [label.ranks for label in evaluation.scores]
    methods = sorted({each.auroc.method for each in ranks} | {each.average_precision.method for each in ranks})
    return (
        "<section><h2>Methods</h2><p>AUROC: DeLong's variance on the logit scale, clustered by the independent unit "
        "(Obuchowski 1997); with fewer than 50 units in a class joined with Newcombe's interval. Average precision: "
        "infinitesimal jackknife on the logit scale, joined with the binomial logit interval below 50 positive units. "
        "Sensitivity, specificity, PPV and NPV: Wilson, on the effective sample size where rows are clustered. MCC, F1 "
        "and comparisons with readers: percentile bootstrap of units. Intervals are for one label at a time; with "
        "fewer than 10 positives they cover less than they say. The choice was made by a coverage study (docs/eval.md)."
        f"</p><p class='soft'>Methods used here: {escape(', '.join(m for m in methods if m != 'none'))}.</p></section>"
    )


def _threshold_source(evaluation: Evaluation) -> str:
    options = evaluation.options
    if options.validation:
        return f"{options.threshold_rule} on {Path(options.validation[0]).name}"
    if options.in_sample:
        return f"{options.threshold_rule} in sample (on the tested table)"
    if options.calibration:
        return f"from {Path(options.calibration).name}"
    return f"{options.threshold:g} for every label" if options.threshold is not None else "none"


def _examples(examples: tuple[str, ...]) -> str:
    return "" if not examples else ": " + ", ".join(f"<code>{escape(each)}</code>" for each in examples)
