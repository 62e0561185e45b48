"""`cxrzero predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrzero.cli.failures import INTERRUPTED
from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread, rare_collections
from cxrzero.cli.terminal import say
from cxrzero.options import ADVANCED
from cxrzero.predict.options import PredictOptions

if TYPE_CHECKING:
    from cxrzero.predict.plan import Plan
    from cxrzero.predict.run import Outcome


def register(app: typer.Typer) -> None:
    app.command("predict", cls=Command, no_args_is_help=True)(command(predict, PredictOptions, config=True))


def predict(
    options: PredictOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read, asked and written; read no image.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", rich_help_panel=ADVANCED, help="Show errors only, no progress and no summary."),
    ] = False,
) -> None:
    """Score chest X-rays for findings named in plain words.

    One row per image: facts from the header, a status, and a probability for each label. An image that cannot be read
    is a row that says why.

    [bold]cxrzero predict archive/ --labels pneumonia,edema[/bold]

    Exit codes: 0 all scored or skipped, 1 nothing scored, 2 wrong usage, 3 some images failed, 130 interrupted.
    """
    one_blas_thread()
    from cxrzero.cli import summary

    plan = _prepare(options, look_only=dry_run)
    rare_collections()
    if dry_run:
        summary.print_plan(plan)
        return
    if not quiet:
        summary.print_start(plan)
    outcome = _run(plan, quiet) if options.engine is None else _run_on_engine(plan, quiet)
    if not quiet:
        summary.print_end(plan, outcome)
    reported = _report(options.dicom_sr, plan, quiet) if options.dicom_sr else 0
    raise typer.Exit(outcome.exit_code or reported)


def _prepare(options: PredictOptions, *, look_only: bool) -> Plan:
    if options.engine is not None:
        from cxrzero.cluster import run

        return run.prepare(options, say, look_only=look_only)
    from cxrzero.predict.plan import prepare

    return prepare(options, say, look_only=look_only)


def _report(folder: Path, plan: Plan, quiet: bool) -> int:
    """Make DICOM reports of the table that is done; the exit code of that, where some rows are in none."""
    from cxrzero.cli.dicom_sr import print_made
    from cxrzero.dicom_out.options import DicomSrOptions
    from cxrzero.dicom_out.run import make_reports

    options = DicomSrOptions(Path(plan.out), out=folder, overwrite=plan.options.overwrite)
    made = make_reports(options)
    if not quiet:
        print_made(made, options)
    return 3 if made.faults else 0


def _run(plan: Plan, quiet: bool) -> Outcome:
    from cxrzero.cli.progress import Progress
    from cxrzero.display.counts import counted
    from cxrzero.files import partial_of
    from cxrzero.pipeline.live import Live
    from cxrzero.predict.run import run
    from cxrzero.tables.table import STDOUT

    live = Live()
    try:
        if quiet:
            return run(plan, live=live)
        with Progress(beside_table=plan.out == STDOUT) as progress:
            return run(plan, progress, live)
    except KeyboardInterrupt:
        place = plan.shown_out if plan.is_growing else partial_of(plan.out)
        kept = "" if plan.out == STDOUT or plan.upload else f" and kept in {place}"  # an upload has said where
        say(f"Interrupted: {counted(live.stats.rows, 'row is', 'rows are')} done{kept}.")
        raise typer.Exit(INTERRUPTED) from None


def _run_on_engine(plan: Plan, quiet: bool) -> Outcome:
    from cxrzero.choices import silent
    from cxrzero.cli.progress import ClusterProgress
    from cxrzero.cluster.run import plan_path, run

    try:
        if quiet:
            return run(plan, notify=silent)
        with ClusterProgress() as progress:
            return run(plan, notify=progress.note, on_news=progress)
    except KeyboardInterrupt:
        say(f"Interrupted: what is done is kept in {plan_path(plan.out)}, and the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
