"""`cxrzero eval`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrzero.cli.configfile import load_config
from cxrzero.cli.failures import reports_failures

if TYPE_CHECKING:
    from cxrzero.evaluate.run import Evaluation
    from cxrzero.stats.intervals import Estimate

ADVANCED = "Advanced"
LABELS = "Labels and joining"


def register(app: typer.Typer) -> None:
    app.command("eval", no_args_is_help=True)(reports_failures(evaluate))


def evaluate(
    predictions: Annotated[str, typer.Argument(metavar="PREDICTIONS", help="Prediction table, or a folder of images.")],
    labels_table: Annotated[str, typer.Argument(metavar="LABELS.csv", help="Reference labels.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write metrics.csv, metrics.json, report.html, calibration.json."
        ),
    ] = None,
    validation: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="PREDICTIONS LABELS", help="Choose thresholds and calibrate on these separate tables."),
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option(metavar="CSV", help="A reader's 0/1 decisions; give it once per reader.")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="CSV", help="Other predictions for the same labels; repeatable.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMNS", help="Subgroups, for example sex,age,view_position.")
    ] = None,
    threshold_rule: Annotated[
        str, typer.Option(metavar="RULE", help="max-mcc, youden, or sensitivity=0.9.")
    ] = "max-mcc",
    calibration: Annotated[
        str | None, typer.Option(metavar="JSON", help="Apply the thresholds and calibration of an earlier run.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(metavar="X", help="State PPV and NPV at this prevalence too.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are in DIR already.")] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="A=B|C", rich_help_panel=LABELS, help="Predicted label A is B or C in LABELS.csv."
        ),
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="A=B", rich_help_panel=LABELS, help="Join column A to LABELS.csv's column B.")
    ] = None,
    list_column: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=LABELS, help="The column that lists findings.")
    ] = None,
    uncertain: Annotated[
        Literal["ignore", "positive", "negative"], typer.Option(rich_help_panel=LABELS, help="What -1 counts as.")
    ] = "ignore",
    blank: Annotated[
        Literal["auto", "ignore", "negative"],
        typer.Option(rich_help_panel=LABELS, help="What blanks count as; auto: negative where -1 or no 0 is used."),
    ] = "auto",
    level: Annotated[
        Literal["auto", "image", "study"], typer.Option(rich_help_panel=LABELS, help="What a row of LABELS.csv is.")
    ] = "auto",
    aggregate: Annotated[
        Literal["mean", "max"], typer.Option(rich_help_panel=LABELS, help="How a study's images become one score.")
    ] = "mean",
    patient: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=LABELS, help="The column that names the patient.")
    ] = None,
    in_sample: Annotated[
        bool,
        typer.Option(
            "--in-sample", rich_help_panel=ADVANCED, help="Choose thresholds on the tested table itself: too good."
        ),
    ] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=ADVANCED, help="One threshold for all labels.")
    ] = None,
    calibrator: Annotated[
        Literal["platt", "temperature", "isotonic", "none"],
        typer.Option(rich_help_panel=ADVANCED, help="How probabilities are calibrated."),
    ] = "platt",
    any_score: Annotated[
        bool, typer.Option("--any-score", rich_help_panel=ADVANCED, help="Accept scores outside 0 to 1 (logits).")
    ] = False,
    confidence: Annotated[float, typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Of intervals.")] = 0.95,
    resamples: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Bootstrap resamples; 0: none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Of the bootstrap.")] = 0,
    labels: Annotated[
        str | None,
        typer.Option(metavar="LIST", rich_help_panel=ADVANCED, help="For a folder: what to ask, as in predict."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            rich_help_panel=ADVANCED,
            show_default="cxrzero-mini",
            help="For a folder: as in predict.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", rich_help_panel=ADVANCED, is_eager=True, callback=load_config, help="Options from a file."
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", rich_help_panel=ADVANCED, help="Tracebacks instead of messages.")
    ] = False,
) -> None:
    """Evaluate predictions against reference labels: metrics with intervals, thresholds, calibration, a report.

    [bold]cxrzero eval predictions.csv labels.csv --validation val.csv val_labels.csv --out results/[/bold]

    PREDICTIONS is a table of cxrzero or anyone's table of probabilities with an id column. Research use only.
    """
    import datetime

    from cxrzero.evaluate import EvalConfig
    from cxrzero.evaluate import evaluate as run_evaluation
    from cxrzero.evaluate.outputs import check_folder, write_outputs
    from cxrzero.evaluate.predict_first import predictor
    from cxrzero.prompts import parse_labels
    from cxrzero.report import render_evaluation

    request = EvalConfig(
        predictions=predictions,
        labels=labels_table,
        mapping=tuple(map_ or ()),
        list_column=list_column,
        uncertain=uncertain,
        blank=blank,
        on=on,
        level=level,
        aggregate=aggregate,
        patient=patient,
        any_score=any_score,
        validation=validation,
        calibration=calibration,
        in_sample=in_sample,
        threshold=threshold,
        threshold_rule=threshold_rule,
        calibrator=None if calibrator == "none" else calibrator,
        prevalence=prevalence,
        readers=tuple(reader or ()),
        compare=tuple(compare or ()),
        by=tuple(name.strip() for name in (by or "").split(",") if name.strip()),
        confidence=confidence,
        n_resamples=resamples,
        seed=seed,
    )
    if out is not None:
        check_folder(out, calibrated=validation is not None or in_sample, overwrite=overwrite)
    asked = None if labels is None else parse_labels(labels)
    predict = predictor(request, model or [], asked, overwrite, (out or Path()) / "predictions.csv")
    evaluation = run_evaluation(request, predict)
    _print(evaluation)
    if out is not None:
        page = render_evaluation(evaluation, datetime.datetime.now(datetime.UTC))
        for path in write_outputs(evaluation, out, page):
            typer.echo(f"Wrote {path}", err=True)


def _print(evaluation: Evaluation) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cxrzero.evaluate.readers import MACRO

    console = Console(highlight=False, soft_wrap=True)
    report = evaluation.dataset.join
    console.print(
        f"Joined {report.n_matched:,} of {report.n_references:,} label rows and {report.n_predictions:,} predictions "
        f"by {escape(report.key)}; unit: {escape(evaluation.dataset.unit_name)}"
    )
    points, macro, macro_point = evaluation.points, evaluation.macro, evaluation.macro_point
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Label", min_width=10)
    table.add_column("Pos/neg", no_wrap=True)
    for name in ("AUROC", "AP", *(("MCC", "F1") if points else ())):
        table.add_column(name, no_wrap=True)
    for label in evaluation.scores:
        point = points.get(label.label)
        name = escape(label.label) + "".join(f"\n[yellow]{mark.replace('_', ' ')}[/]" for mark in label.marks)
        cells = [label.ranks.auroc, label.ranks.average_precision, *((point.mcc, point.f1) if point else ())]
        table.add_row(name, f"{label.n_positive}/{label.n_negative}", *map(_estimate, cells))
    if macro.labels:
        cells = [macro.auroc, macro.average_precision, *((macro_point.mcc, macro_point.f1) if macro_point else ())]
        table.add_section()
        table.add_row(f"mean of {len(macro.labels)}", "", *map(_estimate, cells))
    console.print(table)
    for comparison in (each for each in evaluation.comparisons if each.label == MACRO):
        gap = comparison.auroc
        console.print(
            f"Mean AUROC minus that of {escape(comparison.other)}: {_inline(gap.analytic)}, p = {gap.p:.3g} (DeLong)"
        )
    for each in (each for each in evaluation.readers if each.label == MACRO):
        for metric, name in (("mcc", "MCC"), ("f1", "F1")):
            difference = each.differences[metric]
            console.print(
                f"Mean {name} minus the mean reader's: {_inline(difference.estimate)}, p = {difference.p:.3g}"
            )
    for warning in evaluation.warnings:
        console.print(f"[yellow]![/] {escape(warning.text)}")
    console.print(f"Intervals: {evaluation.options.confidence:.0%}. Research use only, not a medical device.")


def _estimate(each: Estimate) -> str:
    if math.isnan(each.value):
        return "–"
    interval = "" if math.isnan(each.low) else f"\n[dim]{each.low:.3f}–{each.high:.3f}[/]"
    return f"{each.value:.3f}{interval}"


def _inline(each: Estimate) -> str:
    return f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
