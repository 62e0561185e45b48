"""`cxrzero search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.notices import say
from cxrzero.cli.process import one_blas_thread

if TYPE_CHECKING:
    from cxrzero.search.archive import Hit

ADVANCED = "Advanced"


def register(app: typer.Typer) -> None:
    app.command("search", no_args_is_help=True)(reports_failures(search))


def search(
    words: Annotated[
        list[str], typer.Argument(metavar="[TEXT] PATH...", help="What to look for, then images, folders or @list.txt.")
    ],
    like: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Look for images like this one; then no TEXT is given.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="How many images to show.")] = 20,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="A table of the result, .csv, .jsonl or .parquet; - is standard output."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A contact sheet in one file.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="As in predict.")] = "cxrzero-mini",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="As in predict.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")] = False,
    invert: Annotated[
        Literal["auto", "yes", "no"], typer.Option(rich_help_panel=ADVANCED, help="As in predict.")
    ] = "auto",
    debug: Annotated[
        bool, typer.Option("--debug", rich_help_panel=ADVANCED, help="Tracebacks instead of messages.")
    ] = False,
) -> None:
    """Rank an archive by a sentence or by an example image.

    The number is a cosine: it orders images and is not a probability.

    [bold]cxrzero search "large left pleural effusion" archive/ --top 20 --html found.html[/bold]

    Exit codes: 0 all read, 1 nothing read, 2 wrong usage, 3 some images failed.
    """
    one_blas_thread()
    from cxrzero.cli.progress import Progress
    from cxrzero.errors import UsageError
    from cxrzero.files import check_file
    from cxrzero.images.radiograph import DecodeOptions
    from cxrzero.pipeline.items import RunStats
    from cxrzero.screener import Screener
    from cxrzero.search.archive import image_query, text_query
    from cxrzero.search.archive import search as nearest
    from cxrzero.sources import check_paths
    from cxrzero.tables.table import check_output

    paths = words if like else words[1:]
    if not paths:
        raise UsageError('search takes a text and a folder: cxrzero search "pleural effusion" archive/')
    check_paths(paths)
    if out:
        check_output(out, overwrite=overwrite)
    if html:
        check_file(html, overwrite=overwrite)
    screener = Screener(model, device=device, decode_options=DecodeOptions(invert=invert), notify=say)
    query = image_query(screener, like) if like else text_query(screener, words[0])
    stats = RunStats()
    with Progress() as progress:
        hits = nearest(screener, query, paths, top, stats, progress)
    title = f"like {like}" if like else words[0]
    _print_hits(hits)
    if out:
        _write_table(out, hits, overwrite)
    if html:
        from cxrzero.search.contactsheet import write_contact_sheet

        write_contact_sheet(html, title, hits, screener.decode)
    typer.echo(
        f"{stats.rows:,} images: {stats.ok:,} compared, {stats.failed:,} failed, {stats.skipped:,} skipped. "
        "Research use only: not a medical device.",
        err=True,
    )
    raise typer.Exit(1 if not stats.ok else 3 if stats.failed else 0)


def _print_hits(hits: list[Hit]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cxrzero.prediction import printable_path

    table = Table("rank", "cosine", "path", box=None, pad_edge=False)
    for hit in hits:
        frame = f" (frame {hit.row.frame})" if hit.row.frame not in (None, 1) else ""
        table.add_row(str(hit.rank), f"{hit.cosine:.4f}", escape(printable_path(hit.row.path)) + frame)
    Console(stderr=True, highlight=False).print(table)


def _write_table(out: str, hits: list[Hit], overwrite: bool) -> None:
    from cxrzero.prediction import FIXED_TYPES
    from cxrzero.tables.table import Table

    with Table(out, {"rank": int, "cosine": float, **FIXED_TYPES}, overwrite=overwrite) as table:
        for hit in hits:
            table.write([hit.rank, hit.cosine, *hit.row.fixed()])
        table.commit()
