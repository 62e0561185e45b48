"""`cxrzero search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.process import one_blas_thread
from cxrzero.cli.terminal import say
from cxrzero.search.options import SearchOptions

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.embeddings.ask import Hit
    from cxrzero.remote.objects import Objects


def register(app: typer.Typer) -> None:
    app.command("search", cls=Command, no_args_is_help=True)(command(search, SearchOptions))


def search(options: SearchOptions) -> None:
    """Rank an archive by a sentence or by an example image.

    The number is a cosine: it orders images and is not a probability.

    [bold]cxrzero search "large left pleural effusion" archive/ --top 20 --html found.html[/bold]

    Exit codes: 0 all read, 1 nothing read, 2 wrong usage, 3 some images failed.
    """
    one_blas_thread()
    from cxrzero.archive.archives import Archives
    from cxrzero.remote.objects import Objects

    with Archives(notify=say) as archives, Objects(notify=say) as objects:
        _search(options, archives, objects)


def _search(options: SearchOptions, archives: Archives, objects: Objects) -> None:
    import datetime

    from cxrzero.cli.progress import Progress
    from cxrzero.display.counts import counted
    from cxrzero.embeddings.files import open_embeddings
    from cxrzero.errors import UsageError, exit_code
    from cxrzero.files import check_file
    from cxrzero.images.radiograph import DecodeOptions
    from cxrzero.pipeline.live import Live
    from cxrzero.prompts.remarks import lines, remarks_on_text
    from cxrzero.screener import Screener
    from cxrzero.search.archive import image_query, text_query
    from cxrzero.search.archive import search as nearest
    from cxrzero.search.contactsheet import Searched, write_contact_sheet
    from cxrzero.sources import check_paths
    from cxrzero.tables.table import check_output

    kept = None
    if options.embeddings:
        if options.paths or not (options.words or options.like):
            raise UsageError(
                'with --embeddings search takes a text alone: cxrzero search "pleural effusion" --embeddings FILE'
            )
        kept = open_embeddings(options.embeddings)
    elif not options.paths:
        raise UsageError('search takes a text and a folder: cxrzero search "pleural effusion" archive/')
    if looked_at := [*options.paths, *filter(None, [options.like])]:
        check_paths(looked_at, archives, objects)
    if options.out:
        check_output(options.out, overwrite=options.overwrite)
    if options.html:
        check_file(options.html, overwrite=options.overwrite)
    decode_options = DecodeOptions(invert=options.invert)
    screener = Screener(
        options.model,
        device=options.device,
        decode_options=decode_options,
        cache_by=options.cache_by,
        archives=archives or None,
        objects=objects or None,
        notify=say,
    )
    member = screener.member
    member.require_embeddings()
    if kept:
        kept.origin.require(screener.origin())
    for line in (
        () if options.like else lines(remarks_on_text(options.words[0], member.bundle, member.tokenizer.pieces))
    ):
        say(f"Note: {line}")
    query = image_query(screener, options.like) if options.like else text_query(screener, options.words[0])
    live = Live()
    with Progress() as progress:
        hits = nearest(screener, query, options.paths, options.top, live, progress, kept)
    _print_hits(hits)
    if options.out:
        _write_table(options.out, hits, options.overwrite)
    if options.html:
        searched = Searched(
            "" if options.like else options.words[0],
            member.bundle.name,
            member.bundle.fingerprint,
            live.stats,
            datetime.datetime.now(datetime.UTC),
            options.like,
        )
        write_contact_sheet(options.html, searched, hits, screener.decode)
    stats = live.stats
    say(
        f"{counted(stats.rows, 'image')}: {stats.ok:,} compared, {stats.failed:,} failed, {stats.skipped:,} skipped. "
        "Research use only: not a medical device."
    )
    raise typer.Exit(exit_code(stats.ok, stats.failed))


def _print_hits(hits: list[Hit]) -> None:
    from rich.table import Table

    from cxrzero.cli.console import Console

    table = Table("rank", "cosine", "path", box=None, pad_edge=False)
    for hit in hits:
        frame = f" (frame {hit.row.frame})" if hit.row.frame not in (None, 1) else ""
        table.add_row(str(hit.rank), f"{hit.cosine:.4f}", hit.row.path + frame)
    Console(stderr=True).print_table(table)


def _write_table(out: str, hits: list[Hit], overwrite: bool) -> None:
    from cxrzero.prediction import FIXED_TYPES
    from cxrzero.tables.table import Table

    with Table(out, {"rank": int, "cosine": float, **FIXED_TYPES}, overwrite=overwrite) as table:
        for hit in hits:
            table.write([hit.rank, hit.cosine, *hit.row.fixed()])
        table.commit()
