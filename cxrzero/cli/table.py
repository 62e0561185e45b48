"""`cxrzero table`."""

from __future__ import annotations

from typing import Annotated

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import say, show
from cxrzero.predict.table_options import TableOptions


def register(app: typer.Typer) -> None:
    app.command("table", cls=Command, no_args_is_help=True)(command(table, TableOptions))


def table(
    options: TableOptions,
    runs: Annotated[bool, typer.Option("--runs", help="List the runs of a database, and write nothing.")] = False,
) -> None:
    """Write the table of a database of results, as predict would have written it; or the studies of any table.

    [bold]cxrzero table results.sqlite --out predictions.csv[/bold]

    Exit codes: 0 written, 1 the database or the output cannot be used, 2 wrong usage.
    """
    from cxrzero.display.counts import counted

    if runs:
        _print_runs(options.source)
        return
    from cxrzero.predict.tabulate import tabulate

    written = tabulate(options)
    of_runs = f" of {counted(len(written.runs), 'run')}" if written.runs else ""
    rows = counted(written.rows, "study" if written.studies else "row")
    say(f"Wrote {', '.join(written.files)}: {rows}{of_runs}.")
    for warning in written.studies.warnings() if written.studies else ():
        say(f"Warning: {warning}")


def _print_runs(source: str) -> None:
    from cxrzero.database import open_database
    from cxrzero.database.select import runs_of
    from cxrzero.display.counts import counted
    from cxrzero.display.visible import visible

    with open_database(source, must_exist=True) as database:
        for run in runs_of(database):
            end = f"ended {run.ended}" if run.ended else "not ended"
            model = f"{run.model} ({run.fingerprint[:12]})"
            labels = counted(len(run.prompts), "label")
            show(visible(f"{run.number}  began {run.started}, {end}  {model}  {labels}: {', '.join(run.prompts)}"))
