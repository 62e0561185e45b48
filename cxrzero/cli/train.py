"""`cxrzero train`."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrzero.cli.configfile import load_config
from cxrzero.cli.failures import reports_failures

if TYPE_CHECKING:
    from cxrzero.train.config import Progress

ADVANCED = "Advanced"
SECONDS_BETWEEN_LINES = 10.0


def register(app: typer.Typer) -> None:
    app.command("train", no_args_is_help=True)(reports_failures(train))


def train(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS.csv", help="Columns image,text; an image may have several rows.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Run folder; ends as a bundle for predict.")],
    image_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where relative image paths start; default: beside PAIRS.csv.")
    ] = None,
    arch: Annotated[str, typer.Option(help="A built-in architecture, or a JSON file of that form.")] = "cxrzero-mini",
    epochs: Annotated[int, typer.Option(metavar="N", help="Passes over the data.")] = 20,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Images of one optimiser step.")] = 128,
    lr: Annotated[float, typer.Option(metavar="X", help="Peak learning rate (AdamW, warm-up, cosine).")] = 1e-3,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights, sampling and augmentation.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in DIR already.")] = False,
    texts_per_image: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=ADVANCED, help="Texts drawn for an image each time it is seen.")
    ] = 2,
    image_size: Annotated[
        int | None, typer.Option(metavar="PIXELS", rich_help_panel=ADVANCED, help="Default: the architecture's own.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(rich_help_panel=ADVANCED, help="bf16: autocast; weights stay float32.")
    ] = "fp32",
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
    """Train an image and a text encoder on pairs of images and their texts.

    [bold]cxrzero train pairs.csv --out runs/mine[/bold], then [bold]cxrzero predict folder/ --model runs/mine[/bold]

    Needs the extra: pip install 'cxrzero[torch]'.
    """
    from cxrzero.train import train as run_training
    from cxrzero.train.config import TrainConfig

    request = TrainConfig(
        pairs=pairs,
        out=out,
        image_root=image_root,
        arch=arch,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        image_size=image_size,
        texts_per_image=texts_per_image,
        precision=precision,
        threads=threads,
        tokenizer_texts=tokenizer_texts,
        card=card,
        command=shlex.join(["cxrzero", *sys.argv[1:]]),
        overwrite=overwrite,
    )
    bundle = run_training(request, _Lines())
    typer.echo(f"Wrote {bundle}. Try: cxrzero predict FOLDER --model {bundle}")


class _Lines:
    """Prints a line for every epoch, and for the rest at most one every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != "epoch" and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        parts = [f"{progress.stage} {progress.done:,}/{progress.total:,}"]
        if progress.loss is not None:
            parts.append(f"epoch {progress.epoch}, loss {progress.loss:.4f}")
        if progress.validation is not None:
            parts.append(f"AUROC {progress.validation:.3f}")
        if progress.images_per_second is not None:
            parts.append(f"{progress.images_per_second:.0f} images/s")
        if progress.seconds_left is not None:
            parts.append(f"{progress.seconds_left / 60:.0f} min left")
        typer.echo(", ".join(parts), err=True)
