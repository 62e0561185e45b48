"""`cxrzero models list | info | import | pull | verify | calibrate | location`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command, Group
from cxrzero.cli.parameters import Debug, command
from cxrzero.cli.terminal import ask, say, show, show_tabbed
from cxrzero.options import ADVANCED
from cxrzero.registry.own import OwnOptions

if TYPE_CHECKING:
    from cxrzero.cards.card import Card

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Name a model as --model does: a known name, a bundle's folder or a checkpoint."
    ),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(cls=Group, no_args_is_help=True, help="List, fetch, import and check models.")
    group.command("list", cls=Command)(reports_failures(list_models))
    group.command("info", cls=Command, no_args_is_help=True)(reports_failures(info))
    group.command("import", cls=Command, no_args_is_help=True)(command(import_model, OwnOptions, complete=False))
    group.command("pull", cls=Command, no_args_is_help=True)(reports_failures(pull, network=True))
    group.command("verify", cls=Command, no_args_is_help=True)(reports_failures(verify))
    group.command("calibrate", cls=Command, no_args_is_help=True)(reports_failures(calibrate))
    group.command("location", cls=Command, no_args_is_help=True)(reports_failures(location))
    app.add_typer(group, name="models")


def list_models(debug: Debug = False) -> None:
    """List known models and your own, with what they are, where they are and their licences.

    In a pipe the table is tab-separated.

    [bold]cxrzero models list[/bold]
    """
    from cxrzero.registry.overview import NEEDS, rows

    header = ("name", "what", "where", "licence", "size")
    lines = [(row.name, row.what, row.where, row.licence, row.size) for row in rows()]
    if sys.stdout is None or not sys.stdout.isatty():
        for line in (header, *lines):
            show_tabbed(line)
        return
    from rich.table import Table

    from cxrzero.cli.console import Console

    table = Table(*header, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True  # a name is typed as it stands
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.print_table(table)
    for sentence in ("", *NEEDS):
        console.print(sentence, soft_wrap=False)


def info(model: Model, debug: Debug = False) -> None:
    """Show everything that is known of a model, each fact with its source; "unverified" is what nobody could be found
    to state.

    [bold]cxrzero models info chexzero[/bold]
    """
    from cxrzero.cards.card import card_names, load_card
    from cxrzero.cli.facts import show_facts
    from cxrzero.errors import BundleError
    from cxrzero.registry.facts import facts_of_bundle, facts_of_card
    from cxrzero.registry.resolve import resolve_models

    is_card = model in card_names()
    if is_card:
        card = load_card(model)
        show_facts(f"{card.name}: {card.title}", facts_of_card(card))
    try:
        bundles = resolve_models(model, say)
    except BundleError as error:
        if not is_card:
            raise
        show()
        for line in error.args:
            show(line)
        return
    for bundle in bundles:
        show()
        show_facts(f"{bundle.name} on this machine", facts_of_bundle(bundle))


def import_model(
    stated: Mapping[str, Any],
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="Give a checkpoint (.pt, .safetensors), a folder of open_clip or Hugging Face format, or a folder of "
            "checkpoints; nothing with --onnx.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Call the model by this name; by default by the name of its source."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the bundle to this folder; by default to one in your models folder."),
    ] = None,
    lineage: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="CARD",
            help="Say whose preprocessing and scoring apply, where a file does not: chexzero, openai-clip, open-clip.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Give the vocabulary (vocab.txt, tokenizer.json, or their folder) of a text tower that was published "
            "without it; by default it is looked for beside the weights.",
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            rich_help_panel=ADVANCED,
            help="Add these number formats for --precision, and measure them: fp16,bf16,int8.",
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH",
            rich_help_panel=ADVANCED,
            help="Name the architecture as open_clip does, where a file cannot tell.",
        ),
    ] = None,
) -> None:
    """Turn published weights, or ONNX encoders of your own, into a bundle that runs without torch. Uses no network.

    Needs 'cxrzero\\[torch]' for published weights, 'cxrzero\\[onnx]' for your own encoders (docs/models.md).

    [bold]cxrzero models import CheXzero_Models/ --as chexzero[/bold]

    [bold]cxrzero models import --onnx image.onnx text.onnx tokenizer.json --preprocess steps.json --score softmax_pair
    --scale 100 --name mine[/bold]
    """
    from cxrzero.backends.open import check_bf16
    from cxrzero.backends.precision import check_variants
    from cxrzero.errors import UsageError
    from cxrzero.registry import sources
    from cxrzero.registry.own import own_encoders

    wanted = tuple(part.strip() for part in variants.split(",")) if variants is not None else ()
    check_variants(wanted)
    if "bf16" in wanted:
        check_bf16()
    if own := own_encoders(stated):
        if source or lineage or arch or tokenizer:
            raise UsageError("--onnx names all files that are read: leave out SOURCE, --as, --arch and --tokenizer")
        folder, model = sources.place(name, out)
        _show(own.image, folder, sources.convert_own(own, folder, name=name, variants=wanted))
        show(f"Run it with: cxrzero predict FILES --model {model}")
        return
    if source is None:
        raise UsageError("give SOURCE, a checkpoint or a folder, or encoders of your own with --onnx")
    for one, folder, model in sources.plan(source, name, out, lineage):
        lines = sources.convert(one, folder, name=name, card=lineage, arch=arch, tokenizer=tokenizer, variants=wanted)
        _show(one, folder, lines)
        show(f"Run it with: cxrzero predict FILES --model {model}")


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name a known model; see cxrzero models list.")],
    accept_license: Annotated[
        bool,
        typer.Option(
            "--accept-license", help="Accept terms that forbid commercial use or ask for a login; read them first."
        ),
    ] = False,
    token: Annotated[
        bool,
        typer.Option(
            "--token",
            help="Show huggingface.co your login, from HF_TOKEN or 'hf auth login'; for gated models. Never read "
            "without this.",
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Fetch a known model and import it. The only command that uses the network.

    A download that was cut off goes on when the command is given again. Where there is no network, it says which files
    to fetch by hand and how to import them. HF_ENDPOINT names a mirror.

    [bold]cxrzero models pull biomedclip[/bold]
    """
    from cxrzero.cards.card import load_card
    from cxrzero.registry import sources
    from cxrzero.registry.folder import is_bundle, models_folder
    from cxrzero.registry.pull import PULL_JSON
    from cxrzero.registry.pull import pull as fetch

    card = load_card(name)
    folder = models_folder() / name
    if is_bundle(folder):
        show(f"{name} is here already: {folder}")
        return
    say(f"Licence: {card.licence}{f', {card.licence.url}' if card.licence.url else ''}")
    downloaded = fetch(card, say, accept_licence=accept_license or _asked(card, token), login=token)
    single = len(card.files) == 1
    source = downloaded / card.files[0].name if single else downloaded
    extras = (downloaded / PULL_JSON,)
    lines = sources.convert(source, folder, name=name, card=name if single else None, extras=extras)
    _show(source, folder, lines)
    show(f"The files as published are kept in {downloaded}; you may delete them.")


def verify(model: Model, debug: Debug = False) -> None:
    """Check a model on this machine: files, hashes, tokenizer, and both encoders on a fixed input.

    Exit codes: 0 all checks passed, 1 one of them failed.

    [bold]cxrzero models verify cxrzero-mini[/bold]
    """
    from cxrzero.display.counts import counted
    from cxrzero.registry.resolve import resolve_models
    from cxrzero.registry.verify import verify as checks_of

    failed = 0
    for bundle in resolve_models(model, say):
        show(f"{bundle.name} ({bundle.path})")
        for check in checks_of(bundle):
            show(f"  {'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
            failed += not check.ok
    if failed:
        say(f"{counted(failed, 'check')} failed.", style="red")
        raise typer.Exit(1)


def calibrate(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Argument(
            metavar="JSON", help="Give the calibration.json that cxrzero eval --validation wrote for this model."
        ),
    ],
    note: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Say what it is worth: whose films it was fitted on."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Add a calibration to a model of yours, for predict --calibration model.

    It must have been fitted for exactly this model, in fp32, with the model's own wording, and tested on other films.

    [bold]cxrzero models calibrate runs/mine results/calibration.json --note "adults of our hospital, 2024"[/bold]
    """
    from cxrzero.calibration.bundled import put_into
    from cxrzero.calibration.worth import worth, worth_of_labels
    from cxrzero.registry.resolve import resolve_model

    bundle = resolve_model(model, say)
    made = put_into(bundle, calibration, note)
    show(f"{calibration} → {bundle.path}")
    show(f"  {worth(made)}.")
    for label, sentence in worth_of_labels(made):
        show(f"  {label}: {sentence}")
    show(f"Use it with: cxrzero predict FILES --model {model} --calibration model")


def location(
    model: Model,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="JSON...", help="Give the location.json that cxrzero eval --boxes wrote, of each method."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Say what the boxed films are called; by default the name of their table."),
    ] = None,
    debug: Debug = False,
) -> None:
    """State in a model of yours where its maps were measured to point, for the overlays of cxrzero heatmap.

    It takes results of exactly this model, on films that it was not trained on. A finding whose maps do not beat the
    best fixed point is then marked on every overlay.

    [bold]cxrzero models location runs/mine results/location.json --dataset "boxes of NIH, kept out of training"[/bold]
    """
    from cxrzero.evaluate.boxes.card import put_into
    from cxrzero.registry.resolve import resolve_model

    bundle = resolve_model(model, say)
    for entry in put_into(bundle, results, dataset):
        show(f"  {entry.label}: {entry}")


def _asked(card: Card, login: bool) -> bool:
    """Ask in a terminal; anywhere else only --accept-license counts."""
    from cxrzero.registry.byhand import can_pull

    if not card.licence.needs_consent or not can_pull(card, login=login) or sys.stdin is None or not sys.stdin.isatty():
        return False
    return ask("Do you accept these terms?")


def _show(source: Path, folder: Path, lines: tuple[str, ...]) -> None:
    show(f"{source} → {folder}")
    for line in lines:
        show(f"  {line}")
