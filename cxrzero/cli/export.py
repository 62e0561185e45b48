"""`cxrzero export`."""

from __future__ import annotations

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import say
from cxrzero.export.options import ExportOptions


def register(app: typer.Typer) -> None:
    app.command("export", cls=Command, no_args_is_help=True)(command(export, ExportOptions))


def export(options: ExportOptions) -> None:
    """Write a table of predictions as files that FiftyOne or Label Studio reads.

    [bold]cxrzero export predictions.csv --to label-studio --png png/[/bold]

    Exit codes: 0 each scored film is in the files, 1 they cannot be written, 2 wrong usage, or no film can be shown, 3
    some films cannot be shown.
    """
    from cxrzero.display.counts import counted
    from cxrzero.export.run import export as run

    done = run(options)
    for note in done.notes:
        say(f"Note: {note}")
    for why, count in done.left_out.reasons.most_common():
        say(f"! {counted(count, 'film is', 'films are')} left out: {why}", style="yellow")
        say(f"  {'it is' if count == 1 else 'the first is'} {done.left_out.examples[why]}", style="yellow")
    for status, count in done.not_scored.most_common():
        say(f"{counted(count, 'row')} with the status {status}: left out.")
    say(
        f"Wrote {' and '.join(map(str, done.files))}: {counted(done.films, 'film')}. They have the paths of the table. "
        "Research use only: not a medical device."
    )
    raise typer.Exit(done.exit_code)
