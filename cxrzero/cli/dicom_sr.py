"""`cxrzero dicom-sr`, and what `predict --dicom-sr` says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import say
from cxrzero.dicom_out.options import DicomSrOptions

if TYPE_CHECKING:
    from cxrzero.dicom_out.films import Made


def register(app: typer.Typer) -> None:
    app.command("dicom-sr", cls=Command, no_args_is_help=True)(command(dicom_sr, DicomSrOptions, config=True))


def dicom_sr(options: DicomSrOptions) -> None:
    """Write the results of a table of predictions as DICOM objects, to go back to the archive.

    One structured report (Comprehensive 3D SR) for each study, preliminary and unverified, with the patient and study
    of the films' own headers.

    [bold]cxrzero dicom-sr predictions.csv --out reports/[/bold]

    Exit codes: 0 each scored row is in a report, 1 nothing written, 2 wrong usage, 3 some rows are in none.
    """
    from cxrzero.cli.progress import Steps
    from cxrzero.dicom_out.run import make_reports

    with Steps("Writing reports") as steps:
        made = make_reports(options, steps)
    print_made(made, options)
    raise typer.Exit(made.exit_code)


def print_made(made: Made, options: DicomSrOptions) -> None:
    """Say what was made, and what was not."""
    from cxrzero.display.counts import counted

    for note in made.notes:
        say(f"Note: {note}")
    for fault, count in made.faults.most_common():
        say(f"! {counted(count, 'row is', 'rows are')} in no object: {fault}", style="yellow")
        say(f"  {'it is' if count == 1 else 'the first is'} {made.examples[fault]}", style="yellow")
    if made.copies:
        say(f"{counted(made.copies, 'row is a copy', 'rows are copies')} of an image that its report has already.")
    if made.skipped:
        say(f"{counted(made.skipped, 'row', 'rows')} that the run skipped: in no object.")
    maps = f" and {counted(made.maps, 'map')}" if options.heatmaps else ""
    say(
        f"Wrote {counted(made.reports, 'report')} of {counted(made.films, 'image')}{maps} to {options.out}/. They "
        "carry the patients' identity. Research use only: not a medical device."
    )
