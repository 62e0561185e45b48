"""`cxrzero merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cxrzero.choices import Aggregate, Level
from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command
from cxrzero.cli.terminal import say


def register(app: typer.Typer) -> None:
    app.command("merge", cls=Command, no_args_is_help=True)(reports_failures(merge))


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PART...",
            help="Give the tables, or the files of embeddings, of all shards in any order; their .run.json lie beside "
            "them.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write the joined table to this file, or send it to an object store."
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that exists already.")] = False,
    by: Annotated[
        Level, typer.Option("--by", help="Write one row per image; study adds a table with one row per study.")
    ] = "image",
    study_aggregate: Annotated[
        Aggregate,
        typer.Option(
            "--study-aggregate", help="Join the probabilities of a study's views in this way, with --by study."
        ),
    ] = "mean",
) -> None:
    """Join the tables of predict --shard into the table that one run would have written.

    It refuses unless every shard is there once and all were made alike.

    [bold]cxrzero merge part-*.csv --out predictions.csv[/bold]

    Exit codes: as predict, from the counts of all shards; 2 when the parts do not belong together.
    """
    from cxrzero.display.counts import counted
    from cxrzero.embed.merge import are_embeddings
    from cxrzero.errors import exit_code
    from cxrzero.places.kind import kind_of_place
    from cxrzero.predict import merge as job
    from cxrzero.predict.manifest import names_of
    from cxrzero.tables.table import STDOUT

    if are_embeddings([*parts, Path(out)]):
        _merge_embeddings(parts, Path(out), overwrite)
    studies = study_aggregate if by == "study" else None
    if kind_of_place(out) == "object":
        from cxrzero.remote.upload import Upload

        with Upload(out, say) as upload:
            upload.check(names_of(upload.name, by_study=studies is not None), overwrite=overwrite)
            record = job.merge(parts, upload.local, overwrite=overwrite, studies=studies)
            upload.commit(overwrite=overwrite)
            out = str(upload)
    else:
        record = job.merge(parts, Path(out), overwrite=overwrite, studies=studies)
    counts = record["counts"]
    rows = ", ".join(f"{counts[status]:,} {status}" for status in ("ok", "failed", "skipped"))
    wrote = "" if out == STDOUT else f" Wrote {out} and its record."
    say(f"Merged {counted(len(parts), 'shard')}: {rows}.{wrote}")
    for warning in (record["studies"] or {}).get("warnings", ()):
        say(f"Warning: {warning}")
    raise typer.Exit(exit_code(counts["ok"], counts["failed"]))


def _merge_embeddings(parts: list[Path], out: Path, overwrite: bool) -> NoReturn:
    from cxrzero.display.counts import counted
    from cxrzero.embed.merge import merge as join
    from cxrzero.errors import exit_code

    counts = join(parts, out, overwrite=overwrite)["counts"]
    rows = ", ".join(f"{counts[status]:,} {status}" for status in ("ok", "failed", "skipped"))
    say(f"Merged {counted(len(parts), 'shard')} of embeddings: {rows}. Wrote {out} and its record.")
    raise typer.Exit(exit_code(counts["ok"], counts["failed"]))
