"""`cxrzero train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cxrzero.cli.configfile import load_config
from cxrzero.cli.failures import reports_failures
from cxrzero.errors import UsageError

ADVANCED = "Advanced"
NOT_OPTIONS = ("resume", "check", "config", "debug")


def register(app: typer.Typer) -> None:
    app.command("train", no_args_is_help=True)(reports_failures(train))


def train(
    context: typer.Context,
    pairs: Annotated[
        Path | None,
        typer.Argument(metavar="SOURCE", help="CSV of image,text or image,report; or a folder of images and reports."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Run folder; ends as a bundle for predict.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with a run that was stopped or killed; needs no SOURCE.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read everything once and report; train nothing.")] = False,
    init: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Start from a run, bundle, model folder or file of weights."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="Built-in, any of open_clip's, or a JSON file. Default: cxrzero-mini.")
    ] = None,
    lineage: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="CARD", rich_help_panel=ADVANCED, help="Whose weights a bare file of --init holds."
        ),
    ] = None,
    recipe: Annotated[
        Literal["default", "chexzero"], typer.Option(help="chexzero: the training of CheXzero's paper.")
    ] = "default",
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the data. Default: 20.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images that one step contrasts. Default: 128.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="X", help="Peak learning rate. Default: by start, see docs/train.md.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of weights, sampling and augmentation.")] = None,
    val_labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Labelled images (image, then 0/1 columns), asked every epoch.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(rich_help_panel=ADVANCED, help="Default: auto.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in DIR already.")] = False,
    image_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=ADVANCED, help="Where relative image paths start."),
    ] = None,
    layout: Annotated[
        Literal["auto", "table", "folder", "mimic", "openi"] | None,
        typer.Option(rich_help_panel=ADVANCED, help="What SOURCE is; else recognised."),
    ] = None,
    text_rule: Annotated[
        Literal["sentences", "section", "chexzero"] | None,
        typer.Option(rich_help_panel=ADVANCED, help="Which words of a report are taken. Default: sentences."),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Patients kept out where SOURCE states no split."),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", rich_help_panel=ADVANCED, help="Go on without what is missing or cannot be read."
        ),
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=ADVANCED, help="Decoded images, for several runs to share."),
    ] = None,
    decode_workers: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Decoding processes. Default: one for each core."),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Images of one forward pass; same loss, less memory."),
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(rich_help_panel=ADVANCED, help="bf16: autocast; weights stay float32. Default: fp32."),
    ] = None,
    freeze: Annotated[
        Literal["image", "text"] | None,
        typer.Option(rich_help_panel=ADVANCED, help="Keep this tower's weights (LiT); needs --init."),
    ] = None,
    image_lr_scale: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Factor on --lr for the image tower.")
    ] = None,
    text_lr_scale: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Factor on --lr for the text tower.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Of matrices. Default: 0.05.")
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment/--no-augment", rich_help_panel=ADVANCED, help="Vary training images; never flipped."),
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Blend pairs of images and their truths; e.g. 0.4."),
    ] = None,
    loss: Annotated[
        Literal["soft", "sigmoid", "clip"] | None,
        typer.Option(
            rich_help_panel=ADVANCED,
            help="soft contrasts, sigmoid asks of each text whether it is true, clip is CLIP's. Default: soft.",
        ),
    ] = None,
    texts_per_image: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Texts drawn for an image each time. Default: 2."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="PIXELS", rich_help_panel=ADVANCED, help="Default: the architecture's own.")
    ] = None,
    first_size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", rich_help_panel=ADVANCED, help="Smaller images for the first steps; convolutions only."
        ),
    ] = None,
    first_share: Annotated[
        float | None,
        typer.Option(metavar="X", rich_help_panel=ADVANCED, help="Part of the steps at --first-size. Default: 0.5."),
    ] = None,
    val_every: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Steps between validations.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="K", rich_help_panel=ADVANCED, help="Best checkpoints kept. Default: 1.")
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(metavar="K", rich_help_panel=ADVANCED, help="Export the best K as DIR/ensemble, for --model."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Stop after N validations without a better one."),
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Steps between checkpoints.")
    ] = None,
    save_minutes: Annotated[
        float | None,
        typer.Option(metavar="M", rich_help_panel=ADVANCED, help="Minutes between checkpoints. Default: 15."),
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="CPU threads.")] = None,
    tokenizer_texts: Annotated[
        Path | None,
        typer.Option(metavar="TXT", rich_help_panel=ADVANCED, help="More text for the tokenizer to learn from."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(metavar="JSON", rich_help_panel=ADVANCED, help="Facts for the model's card.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML", rich_help_panel=ADVANCED, is_eager=True, callback=load_config, help="Options from a file."
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", rich_help_panel=ADVANCED, help="Tracebacks instead of messages.")
    ] = False,
) -> None:
    r"""Train an image and a text encoder on pairs of images and their texts.

    [bold]cxrzero train pairs.csv --out runs/mine[/bold], then [bold]cxrzero predict folder/ --model runs/mine[/bold]

    Needs the extra: pip install 'cxrzero\[torch]'. Several GPUs: torchrun --nproc-per-node N -m cxrzero train …
    """
    from cxrzero import train as training
    from cxrzero.cli.training import TrainingDisplay

    given = _given(context)
    if check:
        _check(given | {"recipe": recipe})
        return
    with TrainingDisplay() as display:
        if resume is not None:
            folder = training.resume(resume, given, display)
        else:
            missing = [name for name, value in (("SOURCE", pairs), ("--out", out)) if value is None]
            if missing:
                raise UsageError(f"{' and '.join(missing)} must be given (or --resume DIR)")
            command = shlex.join(["cxrzero", *sys.argv[1:]])
            folder = training.train(training.recipe_config(**({"recipe": recipe} | given), command=command), display)
    display.say(f"Wrote {folder}. Try: cxrzero predict FOLDER --model {folder}")


def _check(given: dict[str, Any]) -> None:
    """Write check.json and check.html into --out, or the current folder; exit 1 if nothing could be trained."""
    from tempfile import TemporaryDirectory

    from cxrzero import train as training
    from cxrzero.cli.checking import check_lines
    from cxrzero.cli.training import TrainingDisplay

    if "pairs" not in given:
        raise UsageError("SOURCE must be given")
    with TemporaryDirectory(prefix="cxrzero-check-") as scratch:
        # Without a run folder nobody would use the decoded images again.
        place = {} if "out" in given else {"out": Path(), "store": given.get("store", Path(scratch))}
        with TrainingDisplay() as display:
            found, seen = training.check(training.recipe_config(**(given | place)), display)
    for line in check_lines(found, seen):
        typer.echo(line)
    typer.echo(f"Wrote {given.get('out', Path()) / 'check.json'} and check.html beside it.")
    if not found.trainable:
        raise typer.Exit(1)


def _given(context: typer.Context) -> dict[str, Any]:
    """What the user stated, on the command line or in --config."""
    given = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name not in NOT_OPTIONS and source is not None and source.name != "DEFAULT":
            given[name] = value
    return given
