"""`cxrzero compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import say
from cxrzero.compare.options import CompareOptions

if TYPE_CHECKING:
    from cxrzero.compare.run import Comparison


def register(app: typer.Typer) -> None:
    app.command("compare", cls=Command, no_args_is_help=True)(command(compare, CompareOptions, config=True))


def compare(options: CompareOptions) -> None:
    """Compare two tables of predictions of the same films: what another model would change, without labels.

    [bold]cxrzero compare old.csv new.csv --images archive/ --out comparison/[/bold]

    Agreement does not say which table is better: give --labels for that.
    """
    import datetime

    from cxrzero.compare.outputs import NAMES, write_outputs
    from cxrzero.compare.page import render
    from cxrzero.compare.run import compare as run_comparison
    from cxrzero.evaluate.outputs import check_free

    if options.out is not None:
        check_free(options.out, NAMES, overwrite=options.overwrite)
    comparison = run_comparison(options, say)
    written: list[Path] = []
    if options.out is not None:  # before anything is printed, which may fail
        page = render(comparison, datetime.datetime.now(datetime.UTC))
        written = write_outputs(comparison, options.out, page)
    _print(comparison)
    for path in written:
        say(f"Wrote {path}")


def _print(comparison: Comparison) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from cxrzero.cli.console import Console
    from cxrzero.cli.evaluate import estimate, inline
    from cxrzero.display.counts import counted

    console = Console()
    joined, options = comparison.pairs.joined, comparison.options
    console.print(
        f"Joined {joined.n_pairs:,} of {counted(joined.n_a, 'row')} of A to {counted(joined.n_b, 'row')} of B by "
        f"{joined.key}; independent unit: {comparison.pairs.unit}"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Label", min_width=10)
    share = options.share[0] if options.share else None
    highest = () if share is None else (f"κ, highest {share:.3g}", "Both/A/B")
    for name in ("Films", "Spearman", "Tau-b", *highest):
        table.add_column(name, no_wrap=True)
    for label in comparison.labels:
        cells = [estimate(label.spearman), estimate(label.tau_b)]
        for each in label.decisions:
            if (each.rule, each.asked) == ("share", share):
                cells += [estimate(each.kappa), f"{each.both:,}/{each.only_a:,}/{each.only_b:,}"]
        table.add_row(label.label, f"{label.n:,}", *cells)
    console.print_table(table)
    for found in comparison.evaluation.comparisons if comparison.evaluation else ():
        gap, of = found.auroc, "Mean AUROC" if found.is_average else f"{found.label}: AUROC"
        console.print(f"{of} of A minus that of B: {inline(gap.analytic)}, p = {gap.p:.3g} (DeLong)")
    for warning in comparison.warnings:
        console.print(Text("!", "bold red" if warning.is_loud else "yellow"), warning.text)
        # Who sends the results to a file sees it all the same.
        if warning.is_loud and not console.is_terminal:
            say(f"! {warning.text}")
    console.print(
        f"Intervals hold at {options.confidence:.0%}. Agreement does not say which is better. Research use only: not a "
        "medical device."
    )
