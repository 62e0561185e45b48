"""The end of the evaluation report: what was joined, where it comes from, and the methods."""

from __future__ import annotations

import json
from pathlib import Path

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.evaluate.run import Evaluation
from cxrzero.report.cells import Cell, count, facts, table, text

MISMATCHES = {
    "only_predictions": "in the predictions only",
    "only_references": "in the labels only",
    "duplicate_predictions": "more than once in the predictions",
    "duplicate_references": "more than once in the labels",
}


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
