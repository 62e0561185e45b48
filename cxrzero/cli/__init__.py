"""The command line: parse, build one typed config, call one library function, print. Only here is anything printed."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from cxrzero._version import __version__
from cxrzero.cli import (
    bench,
    cache,
    compare,
    dicom_sr,
    embed,
    evaluate,
    export,
    heatmap,
    inspect,
    listen,
    merge,
    models,
    predict,
    prompts,
    search,
    table,
    train,
    worklist,
)
from cxrzero.cli.failures import reports_failures
from cxrzero.cli.process import settle
from cxrzero.cli.program import Program
from cxrzero.cli.terminal import show

app = typer.Typer(
    name="cxrzero",
    cls=Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Research use only: cxrzero is not a medical device.",
)
predict.register(app)
merge.register(app)
table.register(app)
inspect.register(app)
listen.register(app)
embed.register(app)
search.register(app)
heatmap.register(app)
worklist.register(app)
dicom_sr.register(app)
export.register(app)
prompts.register(app)
evaluate.register(app)
compare.register(app)
models.register(app)
train.register(app)
bench.register(app)
cache.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        reports_failures(show)(f"cxrzero {__version__}")
        raise typer.Exit


@app.callback()
def cxrzero(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Screen chest X-rays: give a folder of radiographs and findings in plain words, get a table of probabilities."""


def main() -> None:
    """Entry point of the `cxrzero` command."""
    settle()
    try:
        typer.main.get_command(app)()  # `app()` would have tracebacks printed as they are, and not as `settle` says
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C, while Python ends, has nothing to say
