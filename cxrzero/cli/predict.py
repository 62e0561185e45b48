"""`cxrzero predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrzero.cli.configfile import load_config
from cxrzero.cli.failures import INTERRUPTED, reports_failures
from cxrzero.cli.notices import say
from cxrzero.cli.process import one_blas_thread, rare_collections
from cxrzero.predict.config import PredictConfig
from cxrzero.predict.shard import parse_shard

if TYPE_CHECKING:
    from cxrzero.predict.run import RunReport

ADVANCED = "Advanced"


def register(app: typer.Typer) -> None:
    app.command("predict", no_args_is_help=True)(reports_failures(predict))


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Images, folders (searched recursively) or @list.txt (one path a line)."
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help='Findings in plain words: pneumonia,"mass, left" or @labels.txt. Without it: the model\'s own list.',
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=ADVANCED,
            help="YAML with sentences for and against each label; default is the built-in bank. See cxrzero prompts.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            show_default="predictions.csv",
            help="The table, .csv, .jsonl or .parquet; - is standard output.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            show_default="cxrzero-mini",
            help="A known name (cxrzero models list), a bundle's folder, or a checkpoint; several are an ensemble.",
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where one works, and says what it chose.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that exists already.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read, asked and written; read no image.")
    ] = False,
    skip: Annotated[
        str | None,
        typer.Option(metavar="FLAGS", help="Do not score images with these flags, e.g. lateral,maybe_not_chest_xray."),
    ] = None,
    only: Annotated[
        Literal["frontal"] | None, typer.Option(help="Score only what the header calls a frontal view (PA or AP).")
    ] = None,
    by: Annotated[
        Literal["image", "study"],
        typer.Option(help="study adds a table with one row per study, frontal views aggregated."),
    ] = "image",
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="calibration.json of cxrzero eval: adds calibrated numbers and 0/1 decisions."
        ),
    ] = None,
    pseudonymise: Annotated[
        bool, typer.Option("--pseudonymise", help="Replace paths and UIDs in the table by keyed digests.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that cannot be read.")
    ] = False,
    table_format: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option("--format", rich_help_panel=ADVANCED, help="Of the table; default: by the suffix of --out."),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", rich_help_panel=ADVANCED, help="One row per image and label.")
    ] = False,
    scores: Annotated[
        bool,
        typer.Option("--scores", rich_help_panel=ADVANCED, help="Add the two cosines behind each probability."),
    ] = False,
    backend: Annotated[
        Literal["auto", "onnxruntime", "openvino", "torch"],
        typer.Option(rich_help_panel=ADVANCED, help="What runs the model; in fp32 all agree."),
    ] = "auto",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8", "auto"],
        typer.Option(rich_help_panel=ADVANCED, help="auto: the fastest that is known to deviate little."),
    ] = "fp32",
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=4096, rich_help_panel=ADVANCED, help="Images of one encoder call."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=256, rich_help_panel=ADVANCED, help="Files decoded at once; default: cores, to 16."
        ),
    ] = None,
    decode_in: Annotated[
        Literal["auto", "threads", "processes"],
        typer.Option(rich_help_panel=ADVANCED, help="auto: in processes from 8 workers on, where threads get slow."),
    ] = "auto",
    invert: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(
            rich_help_panel=ADVANCED,
            help="auto trusts the header's PhotometricInterpretation; yes and no override it for every image.",
        ),
    ] = "auto",
    fast_decode: Annotated[
        bool,
        typer.Option(
            "--fast-decode",
            rich_help_panel=ADVANCED,
            help="Decode large JPEG and JPEG 2000 files at a fraction of their size, at least twice the model's.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            rich_help_panel=ADVANCED,
            help="Read only part K of N, for job arrays; cxrzero merge joins the tables.",
        ),
    ] = None,
    study_aggregate: Annotated[
        Literal["mean", "max"],
        typer.Option(rich_help_panel=ADVANCED, help="How --by study joins the views' probabilities."),
    ] = "mean",
    pseudonym_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=ADVANCED,
            help="Key of --pseudonymise; default: the user's own, made at first use. Keep it secret, and keep it.",
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", rich_help_panel=ADVANCED, help="Neither use nor keep embeddings (cxrzero cache)."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            rich_help_panel=ADVANCED,
            is_eager=True,
            callback=load_config,
            help="Options from a file; the command line wins.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=ADVANCED, help="No progress and no summary; errors only.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", rich_help_panel=ADVANCED, help="Tracebacks instead of messages. They may quote file headers."
        ),
    ] = False,
) -> None:
    """Score chest X-rays for findings named in plain words.

    One row per image: facts from the header, a status, and a probability for each label. An image that cannot be read
    is a row that says why.

    [bold]cxrzero predict archive/ --labels pneumonia,edema[/bold]

    Exit codes: 0 all scored or skipped, 1 nothing scored, 2 wrong usage, 3 some images failed, 130 interrupted.
    """
    one_blas_thread()
    from cxrzero.prompts import parse_labels

    request = PredictConfig(
        paths=tuple(paths),
        labels=None if labels is None else parse_labels(labels),
        prompts=prompts,
        calibration=calibration,
        out=out or f"predictions.{table_format or 'csv'}",
        format=table_format,
        long=long,
        scores=scores,
        model=tuple(model) if model else PredictConfig(()).model,
        device=device,
        backend=backend,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        decode_in=decode_in,
        overwrite=overwrite,
        fail_fast=fail_fast,
        invert=invert,
        fast_decode=fast_decode,
        skip=tuple(skip.split(",")) if skip else (),
        only=only,
        by=by,
        study_aggregate=study_aggregate,
        pseudonymise=pseudonymise,
        pseudonym_key=pseudonym_key,
        cache=not no_cache,
        shard=None if shard is None else parse_shard(shard),
    )
    from cxrzero.cli import summary
    from cxrzero.predict import run as job

    report = job.prepare(request, say)
    rare_collections()
    if dry_run:
        summary.print_plan(report)
        return
    if not quiet:
        summary.print_start(report)
    _run(report, quiet)
    if not quiet:
        summary.print_end(report)
    raise typer.Exit(report.exit_code)


def _run(report: RunReport, quiet: bool) -> None:
    from cxrzero.cli.progress import Progress
    from cxrzero.files import partial_of
    from cxrzero.predict.run import run
    from cxrzero.tables.table import STDOUT

    try:
        if quiet:
            run(report)
        else:
            with Progress() as progress:
                run(report, lambda report: progress(report.stats, report.total))
    except KeyboardInterrupt:
        kept = "" if report.config.out == STDOUT else f" in {partial_of(report.config.out)}"
        typer.echo(f"Interrupted: {report.stats.rows:,} rows are done{kept}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
