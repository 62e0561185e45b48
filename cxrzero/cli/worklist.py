"""`cxrzero worklist`."""

from __future__ import annotations

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread
from cxrzero.cli.terminal import say
from cxrzero.worklist.options import WorklistOptions


def register(app: typer.Typer) -> None:
    app.command("worklist", cls=Command, no_args_is_help=True)(command(worklist, WorklistOptions, config=True))


def worklist(options: WorklistOptions) -> None:
    """Write a page of films in order, to look at and to review in a browser, of a table of predictions.

    [bold]cxrzero worklist predictions.csv --label pneumonia --top 100[/bold]

    The page needs no server and loads nothing from elsewhere. Exit codes: 0 every film is shown, 1 no film can be
    shown, 2 wrong usage, 3 some films have no picture.
    """
    one_blas_thread()
    from cxrzero.cli.progress import Steps
    from cxrzero.display.counts import counted
    from cxrzero.errors import exit_code
    from cxrzero.worklist.run import make_worklist

    with Steps("Drawing films") as steps:
        made = make_worklist(options, say, steps)
    for note in made.notes:
        say(f"! {note}")
    if made.overlays:
        each = made.overlay_seconds / made.overlays
        say(f"Overlays of {counted(made.overlays, 'film')} took {made.overlay_seconds:.0f} s, {each:.2f} s each.")
    films = counted(made.films, "film")
    say(f"Wrote {made.page}: {films}. Open it in a browser. Research use only: not a medical device.")
    raise typer.Exit(exit_code(made.films - len(made.faults), len(made.faults)))
