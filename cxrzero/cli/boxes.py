"""`cxrzero eval --boxes`: what is printed of an evaluation of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrzero.cli.terminal import say
from cxrzero.evaluate.options import EvalOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cxrzero.evaluate.boxes.run import Localisation
    from cxrzero.stats.intervals import Estimate


def evaluate_boxes(options: EvalOptions) -> None:
    """Compare maps with boxes, write the results and print them."""
    import datetime

    from cxrzero.evaluate.boxes.map_first import film_mapper
    from cxrzero.evaluate.boxes.outputs import check_folder, write_outputs
    from cxrzero.evaluate.boxes.run import evaluate_boxes as run_evaluation
    from cxrzero.report.location import render_location

    if options.out is not None:
        check_folder(options.out, overwrite=options.overwrite)
    found = run_evaluation(options, film_mapper(options, lambda line: say(f"Note: {line}")))
    written = []
    if options.out is not None:  # before anything is printed, which may fail
        written = write_outputs(found, options.out, render_location(found, datetime.datetime.now(datetime.UTC)))
    _print(found)
    for path in written:
        say(f"Wrote {path}")


def _print(found: Localisation) -> None:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from cxrzero.cli.console import Console
    from cxrzero.display.counts import counted
    from cxrzero.report.location import verdict_of

    console = Console()
    gathered = found.gathered
    console.print(
        f"Joined {counted(gathered.counts.boxes, 'box')} of {counted(gathered.join.n_matched, 'film')} to maps of "
        f"{counted(gathered.join.n_predictions, 'film')} by {gathered.join.key}; method: {gathered.method}; "
        f"independent unit: {gathered.unit}"
    )
    for words in gathered.match.synonyms.values():
        console.print(words)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Finding", min_width=22)
    table.add_column("Films", no_wrap=True)
    for name in ("Map hits", "Fixed point", "Centre", "Difference", "mIoU", "Mean box"):
        table.add_column(name, no_wrap=True)
    names = ("hit_rate", "fixed_point_hit_rate", "centre_hit_rate", "gain", "miou", "mean_box_miou")
    for each in found.labels:
        cells = [_estimate(getattr(each, name)) for name in names]
        mark = Text(verdict_of(each), "" if each.verdict == "validated" else "yellow")
        table.add_row(Group(each.label, mark), f"{each.n_films:,}", *cells)
    if found.mean is not None:
        table.add_section()
        cells = [_estimate(found.mean.values[name]) for name in names]
        table.add_row(f"mean of {counted(len(found.mean.labels), 'finding')}", "", *cells)
    console.print_table(table)
    for warning in found.warnings:
        console.print(Text("!", "bold red" if warning.is_loud else "yellow"), warning.text)
        if warning.is_loud and not console.is_terminal:
            say(f"! {warning.text}")
    console.print(f"Intervals hold at {found.options.confidence:.0%}. Research use only: not a medical device.")


def _estimate(each: Estimate) -> RenderableType:
    from rich.text import Text

    if each.value != each.value:
        return "–"
    interval = () if each.low != each.low else ("\n", (f"{each.low:.2f}–{each.high:.2f}".replace("-", "−"), "dim"))
    return Text.assemble(f"{each.value:.2f}".replace("-", "−"), *interval)
