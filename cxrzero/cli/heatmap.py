"""`cxrzero heatmap`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread
from cxrzero.cli.terminal import say, show
from cxrzero.heatmap.options import HeatmapOptions

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.remote.objects import Objects

SHOWN = 5  # films without maps that are named


def register(app: typer.Typer) -> None:
    app.command("heatmap", cls=Command, no_args_is_help=True)(command(heatmap, HeatmapOptions, config=True))


def heatmap(options: HeatmapOptions) -> None:
    """Draw where in each film the model sees a finding.

    A picture for each film and label, and heatmaps.csv with the place of each peak in the film's own pixels. A map says
    where the model looked, not what is there.

    [bold]cxrzero heatmap archive/ --labels pneumothorax --out heatmaps/[/bold]

    Exit codes: 0 all drawn or skipped, 1 nothing drawn, 2 wrong usage, 3 some images failed, 130 interrupted.
    """
    one_blas_thread()
    from cxrzero.archive.archives import Archives
    from cxrzero.remote.objects import Objects

    with Archives(notify=say) as archives, Objects(notify=say) as objects:
        _heatmap(options, archives, objects)


def _heatmap(options: HeatmapOptions, archives: Archives, objects: Objects) -> None:
    from cxrzero.cli.progress import Progress
    from cxrzero.display.counts import counted
    from cxrzero.heatmap.plan import check, prepare
    from cxrzero.heatmap.run import run
    from cxrzero.images.radiograph import DecodeOptions
    from cxrzero.prompts.remarks import lines
    from cxrzero.screener import Screener

    asked = check(options, archives, objects)
    screener = Screener(
        options.model,
        device=options.device,
        batch_size=options.batch_size,
        workers=options.workers,
        decode_options=DecodeOptions(invert=options.invert),
        archives=archives or None,
        objects=objects or None,
        notify=say,
    )
    plan = prepare(asked, screener)
    for line in (*lines(screener.remarks(plan.prompts, is_typed=options.labels is not None)), *plan.remarks):
        say(f"Note: {line}")
    with Progress() as progress:
        outcome = run(plan, progress)
    stats = outcome.live.stats
    for fault in outcome.faults[:SHOWN]:
        say(fault, style="yellow")
    if outcome.new_key:
        say(f"Note: a pseudonym key was made in {outcome.new_key}; keep it secret and do not lose it.")
    say(
        f"{counted(stats.rows, 'film')}: {stats.ok:,} mapped, {stats.failed:,} failed, {stats.skipped:,} skipped; "
        f"{counted(outcome.passes, 'pass', 'passes')} of {'each' if screener.is_ensemble else 'the'} model. "
        "Research use only: not a medical device."
    )
    show(str(options.out / "heatmaps.csv"))
    raise typer.Exit(outcome.exit_code)
