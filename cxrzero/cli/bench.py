"""`cxrzero bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cxrzero.bench.options import BenchOptions
from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread
from cxrzero.cli.terminal import say, show
from cxrzero.options import ADVANCED

if TYPE_CHECKING:
    from cxrzero.bench.run import BenchReport
    from cxrzero.bench.stopwatch import Rate
    from cxrzero.bench.whole import WholeRate


def register(app: typer.Typer) -> None:
    app.command("bench", cls=Command)(command(bench, BenchOptions))


def bench(
    options: BenchOptions,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=ADVANCED, help="Do not say what is being measured.")
    ] = False,
) -> None:
    """Measure this machine: images per second of each stage and of the whole, what bounds it, and what to set.

    Decoding, preprocessing and encoding alone, the last with every installed backend and precision; then from files to
    scores. Nothing is kept.

    [bold]cxrzero bench archive/2024 --model chexzero[/bold]

    Exit codes: 0 measured, 1 nothing runs here, 2 wrong usage.
    """
    one_blas_thread()
    import json

    from cxrzero.bench.run import run_bench
    from cxrzero.choices import silent

    report = run_bench(options, silent if quiet else say)
    if options.format == "json":
        lines = json.dumps(report.as_dict(), indent=2, ensure_ascii=False).split("\n")
    else:
        lines = _lines(report)
    for line in lines:
        show(line)


def _lines(report: BenchReport) -> list[str]:
    from cxrzero.bench.machine import machine, versions
    from cxrzero.display.counts import counted

    films, stages = report.films, report.stages
    threads = counted(stages.cores, "thread")
    given = counted(len(films.refs), "drawn film" if films.drawn else "file")
    lines = [
        ", ".join(f"memory {value} GB" if key == "memory_gb" else f"{key} {value}" for key, value in machine().items()),
        ", ".join(f"{key} {value}" for key, value in versions().items()),
        f"model {report.model}; {given} of {films.megapixels:.1f} megapixels (median)"
        + f"; {films.unreadable} could not be scored" * bool(films.unreadable),
        "",
        f"{'':34}{'images/s':>9}  {'core ms':>8}",
        f"{f'decode, {threads}':34}{_figures(stages.decode)}",
        f"{'preprocess, 1 thread':34}{_figures(stages.preprocess)}",
    ]
    for each in report.encoders:
        name = f"encode, {each.backend} {each.precision} on {each.gpu or each.device}"
        note = "" if each.is_admissible else "  its deviation from fp32 is unknown, or beyond the bound"
        lines.append(f"{name:34}{_figures(each.rate)}  batch {each.batch_size}{note}")
    for whole in (*report.exact, *report.auto):
        name = f"files to scores, {whole.encoder.backend} {whole.encoder.precision}"
        share = f"{whole.share_of_bound:.0%} of the {whole.bound:.1f} that the stages allow"
        lines.append(f"{name:34}{_figures(whole.rate)}  {counted(whole.workers, 'worker')}, {share}")
    left_out = ((" ".join(filter(None, (each.backend, each.precision))), each.reason) for each in report.not_measured)
    lines += ["", *(f"not measured: {name}: {reason}" for name, reason in left_out)]
    lines += [f"bounded by: {report.bounded_by}", f"exact:      {_command(report.best_exact)}"]
    if report.best_auto:
        lines.append(f"fastest:    {_command(report.best_auto)}  (deviation within the bound, by the model's card)")
    return lines


def _figures(rate: Rate) -> str:
    return f"{rate.images_per_second:9.1f}  {rate.core_ms:8.2f}"


def _command(whole: WholeRate) -> str:
    from cxrzero.bench.advice import settings

    options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings(whole).items())
    return f"cxrzero predict PATH {options}"
