"""`cxrzero embed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cxrzero.cli.failures import INTERRUPTED
from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread, rare_collections
from cxrzero.cli.terminal import say
from cxrzero.embed.options import EmbedOptions
from cxrzero.options import ADVANCED

if TYPE_CHECKING:
    from cxrzero.embed.run import Embedded


def register(app: typer.Typer) -> None:
    app.command("embed", cls=Command, no_args_is_help=True)(command(embed, EmbedOptions, config=True))


def embed(
    options: EmbedOptions,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", rich_help_panel=ADVANCED, help="Show errors only, no progress and no summary."),
    ] = False,
) -> None:
    """Compute the embeddings of films and keep them in a file.

    predict --embeddings and search --embeddings ask that file, without the films. An embedding is not anonymous: see
    docs/embed.md before you share it.

    [bold]cxrzero embed archive/ --out archive.parquet[/bold]

    Exit codes: 0 all embedded or skipped, 1 nothing embedded, 2 wrong usage, 3 some images failed, 130 interrupted.
    """
    one_blas_thread()
    rare_collections()
    done = _run(options, quiet)
    if not quiet:
        _print_end(done)
    raise typer.Exit(done.exit_code)


def _run(options: EmbedOptions, quiet: bool) -> Embedded:
    from cxrzero.choices import silent
    from cxrzero.cli.progress import Progress
    from cxrzero.display.counts import counted
    from cxrzero.embed.run import embed as run
    from cxrzero.pipeline.live import Live

    live = Live()
    try:
        if quiet:
            return run(options, silent, live=live)
        with Progress() as progress:
            return run(options, say, progress, live)
    except KeyboardInterrupt:
        say(
            f"Interrupted: {counted(live.stats.rows, 'film is', 'films are')} done. "
            + ("The same command finds them in the cache." if options.cache else "Nothing of them is kept.")
        )
        raise typer.Exit(INTERRUPTED) from None


def _print_end(done: Embedded) -> None:
    from cxrzero.display.counts import counted

    stats, record = done.stats, done.record
    if done.new_key:
        say(f"Made a key for the pseudonyms: {done.new_key}. Keep it secret and do not lose it.")
    if done.first_failure:
        say(f"First failure: {done.first_failure['path']}: {done.first_failure.error}")
    say(
        f"{counted(stats.rows, 'image')} in {record['seconds']['wall']:.1f} s: {stats.ok:,} embedded "
        f"({counted(record['embed_dim'], 'number')} each, {stats.cached:,} from the cache), {stats.failed:,} failed, "
        f"{stats.skipped:,} skipped."
    )
    say(f"Wrote {done.out} and its record. Research use only: not a medical device.")
