"""`cxrzero eval`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.notices import say
from cxrzero.cli.parameters import command
from cxrzero.evaluate.options import EvalOptions

if TYPE_CHECKING:
    from cxrzero.evaluate.run import Evaluation
    from cxrzero.stats.intervals import Estimate


def register(app: typer.Typer) -> None:
    app.command("eval", cls=Command, no_args_is_help=True)(command(evaluate, EvalOptions, config=True))


def evaluate(options: EvalOptions) -> None:
    """Evaluate predictions against reference labels: metrics with intervals, thresholds, calibration, a report.

    [bold]cxrzero eval predictions.csv labels.csv --validation val.csv val_labels.csv --out results/[/bold]

    PREDICTIONS is a table of cxrzero or anyone's table of probabilities with an id column. Research use only.
    """
    import datetime

    from cxrzero.evaluate.outputs import check_folder, write_outputs
    from cxrzero.evaluate.predict_first import predictor
    from cxrzero.evaluate.run import evaluate as run_evaluation
    from cxrzero.report import render_evaluation

    if options.out is not None:
        calibrated = options.validation is not None or options.in_sample
        check_folder(options.out, calibrated=calibrated, overwrite=options.overwrite)
    evaluation = run_evaluation(options, predictor(options, (options.out or Path()) / "predictions.csv", say))
    _print(evaluation)
    if options.out is not None:
        page = render_evaluation(evaluation, datetime.datetime.now(datetime.UTC))
        for path in write_outputs(evaluation, options.out, page):
            typer.echo(f"Wrote {path}", err=True)


def _print(evaluation: Evaluation) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    report = evaluation.dataset.join
    films = f" ({report.n_matched:,} films)" if report.n_repeated else ""
    console.print(
        f"Joined {report.n_matched_rows:,} of {report.n_references:,} label rows{films} and {report.n_predictions:,} "
        f"predictions by {escape(report.key)}; unit: {escape(evaluation.dataset.unit_name)}"
    )
    for words in evaluation.dataset.match.synonyms.values():
        console.print(escape(words))
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
    for comparison in (each for each in evaluation.comparisons if each.is_average):
        gap = comparison.auroc
        console.print(
            f"Mean AUROC minus that of {escape(comparison.other)}: {_inline(gap.analytic)}, p = {gap.p:.3g} (DeLong)"
        )
    for each in (each for each in evaluation.readers if each.is_average):
        for metric, name in (("mcc", "MCC"), ("f1", "F1")):
            difference = each.differences[metric]
            console.print(
                f"Mean {name} minus the mean reader's: {_inline(difference.estimate)}, p = {difference.p:.3g}"
            )
    for warning in evaluation.warnings:
        console.print(f"[{'bold red' if warning.is_loud else 'yellow'}]![/] {escape(warning.text)}")
        # Who sends the results to a file sees it all the same.
        if warning.is_loud and not console.is_terminal:
            typer.echo(f"! {warning.text}", err=True)
    console.print(f"Intervals: {evaluation.options.confidence:.0%}. Research use only, not a medical device.")


def _estimate(each: Estimate) -> str:
    if math.isnan(each.value):
        return "–"
    interval = "" if math.isnan(each.low) else f"\n[dim]{each.low:.3f}–{each.high:.3f}[/]"
    return f"{each.value:.3f}{interval}"


def _inline(each: Estimate) -> str:
    return f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
