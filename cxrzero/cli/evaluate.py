"""`cxrzero eval`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import say
from cxrzero.evaluate.options import EvalOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cxrzero.evaluate.run import Evaluation
    from cxrzero.report.errorfilms import ErrorFilms
    from cxrzero.stats.intervals import Estimate


def register(app: typer.Typer) -> None:
    app.command("eval", cls=Command, no_args_is_help=True)(command(evaluate, EvalOptions, config=True))


def evaluate(options: EvalOptions) -> None:
    """Evaluate predictions against reference labels: metrics with intervals, thresholds, calibration, a report.

    [bold]cxrzero eval predictions.csv labels.csv --validation val.csv val_labels.csv --out results/[/bold]

    PREDICTIONS is a table of cxrzero or anyone's table of probabilities with an id column. Research use only.

    With --boxes it is a folder of maps: do they point at the finding?

    [bold]cxrzero eval heatmaps/ --boxes boxes.csv --box-size 1024x1024 --unseen --out location/[/bold]
    """
    import datetime

    from cxrzero.evaluate.boxes.run import check_options
    from cxrzero.evaluate.outputs import check_folder, write_outputs
    from cxrzero.evaluate.predict_first import predictor
    from cxrzero.evaluate.run import evaluate as run_evaluation
    from cxrzero.report import render_evaluation

    check_options(options)
    if options.boxes is not None:
        from cxrzero.cli.boxes import evaluate_boxes

        evaluate_boxes(options)
        return
    if options.out is not None:
        calibrated = options.validation is not None or options.in_sample
        check_folder(options.out, calibrated=calibrated, overwrite=options.overwrite)
    evaluation = run_evaluation(options, predictor(options, (options.out or Path()) / "predictions.csv", say))
    written: list[Path] = []
    if options.out is not None:  # before anything is printed, which may fail
        page = render_evaluation(evaluation, datetime.datetime.now(datetime.UTC), _films(evaluation))
        written = write_outputs(evaluation, options.out, page)
    _print(evaluation)
    for path in written:
        say(f"Wrote {path}")


def _films(evaluation: Evaluation) -> ErrorFilms | None:
    if evaluation.options.images is None:
        return None
    from cxrzero.report.errorfilms import draw_errors

    return draw_errors(evaluation, say)


def _print(evaluation: Evaluation) -> None:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from cxrzero.cli.console import Console
    from cxrzero.display.counts import counted

    console = Console()
    report = evaluation.dataset.join
    films = f" ({counted(report.n_matched, 'film')})" if report.n_repeated else ""
    console.print(
        f"Joined {report.n_matched_rows:,} of {counted(report.n_references, 'label row')}{films} to "
        f"{counted(report.n_predictions, 'prediction')} by {report.key}; independent unit: "
        f"{evaluation.dataset.unit_name}"
    )
    for words in evaluation.dataset.match.synonyms.values():
        console.print(words)
    points, macro, macro_point = evaluation.points, evaluation.macro, evaluation.macro_point
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Label", min_width=10)
    table.add_column("Pos/neg", no_wrap=True)
    for name in ("AUROC", "Avg. prec.", *(("MCC", "F1") if points else ())):
        table.add_column(name, no_wrap=True)
    for label in evaluation.scores:
        point = points.get(label.label)
        name = Group(label.label, *(Text(mark.replace("_", " "), "yellow") for mark in label.marks))
        cells = [label.ranks.auroc, label.ranks.average_precision, *((point.mcc, point.f1) if point else ())]
        table.add_row(name, f"{label.n_positive}/{label.n_negative}", *map(estimate, cells))
    if macro.labels:
        cells = [macro.auroc, macro.average_precision, *((macro_point.mcc, macro_point.f1) if macro_point else ())]
        table.add_section()
        table.add_row(f"mean of {counted(len(macro.labels), 'label')}", "", *map(estimate, cells))
    console.print_table(table)
    for comparison in (each for each in evaluation.comparisons if each.is_average):
        gap = comparison.auroc
        console.print(f"Mean AUROC minus that of {comparison.other}: {inline(gap.analytic)}, p = {gap.p:.3g} (DeLong)")
    for each in (each for each in evaluation.readers if each.is_average):
        for metric, name in (("mcc", "MCC"), ("f1", "F1")):
            difference = each.differences[metric]
            console.print(f"Mean {name} minus the mean reader's: {inline(difference.estimate)}, p = {difference.p:.3g}")
    for warning in evaluation.warnings:
        console.print(Text("!", "bold red" if warning.is_loud else "yellow"), warning.text)
        # Who sends the results to a file sees it all the same.
        if warning.is_loud and not console.is_terminal:
            say(f"! {warning.text}")
    console.print(f"Intervals hold at {evaluation.options.confidence:.0%}. Research use only: not a medical device.")


def estimate(each: Estimate) -> RenderableType:
    from rich.text import Text

    if math.isnan(each.value):
        return "–"
    interval = () if math.isnan(each.low) else ("\n", (f"{each.low:.3f}–{each.high:.3f}", "dim"))
    return Text.assemble(f"{each.value:.3f}", *interval)


def inline(each: Estimate) -> str:
    interval = "no interval" if math.isnan(each.low) else f"{each.low:+.3f} to {each.high:+.3f}"
    return f"{each.value:+.3f} ({interval})"
