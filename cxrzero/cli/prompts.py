"""`cxrzero prompts show | check | search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrzero.choices import DEFAULT_MODEL
from cxrzero.cli.failures import reports_failures
from cxrzero.cli.helppage import Command, Group
from cxrzero.cli.parameters import Debug
from cxrzero.cli.terminal import say, show
from cxrzero.display.counts import counted

FINDINGS = 3  # finished, and something was found

Labels = Annotated[str | None, typer.Option(metavar="LIST", help="Name the findings in plain words; see predict.")]
Prompts = Annotated[
    str | None, typer.Option(metavar="FILE", help="Take the sentences from this file instead of the built-in bank.")
]
Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="Ask this model; see predict.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(cls=Group, no_args_is_help=True, help="Show, check and choose the sentences that are asked.")
    group.command("show", cls=Command)(reports_failures(show_prompts))
    group.command("check", cls=Command)(reports_failures(check))
    group.command("search", cls=Command, no_args_is_help=True)(reports_failures(search))
    app.add_typer(group, name="prompts")


def show_prompts(
    labels: Labels = None, prompts: Prompts = None, model: Model = DEFAULT_MODEL, debug: Debug = False
) -> None:
    """Show in full what predict would ask, with the number of tokens.

    [bold]cxrzero prompts show --labels "pneumonia,No Finding"[/bold]
    """
    from cxrzero.model.model_json import TOKENIZER
    from cxrzero.model.tokenizer import Tokenizer
    from cxrzero.prompts import parse_labels, resolve_prompts
    from cxrzero.registry.resolve import resolve_model

    bundle = resolve_model(model, say)
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    for prompt in resolve_prompts(bundle, None if labels is None else parse_labels(labels), prompts):
        show(f"{prompt.label}  ({prompt.source})")
        for sign, texts in (("+", prompt.positive), ("-", prompt.negative)):
            for text, tokens in zip(texts, tokenizer.count(texts), strict=True):
                show(f"  {sign} {text}  [{tokens} of {bundle.context_length} tokens]")


def check(labels: Labels = None, prompts: Prompts = None, model: Model = DEFAULT_MODEL, debug: Debug = False) -> None:
    """Find prompts that mean something else than they seem to.

    [bold]cxrzero prompts check --prompts prompts.yaml[/bold]

    Exit codes: 0 nothing found, 1 the check could not run, 2 wrong usage, 3 something found.
    """
    from cxrzero.prompts import parse_labels
    from cxrzero.prompts.ask import BY_BOOK
    from cxrzero.prompts.lint import lint
    from cxrzero.prompts.remarks import is_english
    from cxrzero.screener import Screener

    screener = Screener(model, device="cpu", notify=say)
    member = screener.member
    asked = member.own(screener.prompts(None if labels is None else parse_labels(labels), prompts))
    bundle, tokenizer = member.bundle, member.tokenizer
    findings = lint(
        [prompt for prompt in asked if prompt.source != BY_BOOK],  # those of a book are its authors' sentences
        tokenizer.count,
        bundle.context_length,
        None if bundle.has_scorer else screener.embed_texts,
        tokenizer.pieces,
        is_english(bundle),
        pairs=bundle.scoring.asks_pairs,
        miscounted=tokenizer.miscounted,
    )
    for finding in findings:
        show(f"{finding.label}: {finding.code}: {finding.message}")
    say(
        f"Checked {counted(len(asked), 'label')}: "
        f"{counted(len(findings), 'remark') if findings else 'nothing to remark'}."
    )
    if findings:
        raise typer.Exit(FINDINGS)


def search(
    images: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Give the folder in which the table's images lie, or @list.txt."),
    ],
    table: Annotated[
        Path,
        typer.Argument(metavar="LABELS.csv", help="Give a table with a column image and label columns of 0 and 1."),
    ],
    labels: Labels = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Keep rows with the same value here in one half; by default patient_id or study_id."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="YAML", help="Write the chosen templates to this file, which --prompts takes."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists already.")] = False,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed the random numbers of the halves and of the resamples.")
    ] = 0,
    model: Model = DEFAULT_MODEL,
    debug: Debug = False,
) -> None:
    """Choose the pair of templates with the best mean AUROC on one half, and state its gain on the other half.

    [bold]cxrzero prompts search images/ labels.csv --out chosen.yaml[/bold]

    Exit codes: 0 all images read, 1 the search could not run, 2 wrong usage, 3 some images failed.
    """
    from cxrzero.errors import OutputExistsError, exit_code
    from cxrzero.prompts import parse_labels
    from cxrzero.screener import Screener
    from cxrzero.search.prompts import choose, read_films, write_templates

    if out and out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists already; choose another --out, or give --overwrite to replace it")
    data = read_films(table, images, None if labels is None else parse_labels(labels), group)
    if notice := data.notice():
        say(f"{table}: {notice}")
    result = choose(Screener(model, notify=say), data, seed)
    show(f"Chosen on {counted(result.n_choice, 'image')}: {result.positive!r} against {result.negative!r}")
    labels_of = counted(result.n_labels, "label")
    show(f"Mean AUROC of {labels_of} on these: {result.choice_before:.4f} before, {result.choice_after:.4f} with them")
    show(
        f"On the other {counted(result.n_report, 'image')}: {result.report_before:.4f} before, "
        f"{result.report_after:.4f} with them, "
        f"a gain of {result.gain:+.4f} (95% interval {result.low:+.4f} to {result.high:+.4f})"
    )
    if result.failed:
        say(f"{counted(result.failed, 'image')} could not be read and took no part.")
    if out:
        write_templates(out, result)
    raise typer.Exit(exit_code(result.n_choice + result.n_report, result.failed))
