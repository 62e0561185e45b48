"""`cxrzero train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrzero.cli.helppage import Command
from cxrzero.cli.parameters import command
from cxrzero.cli.terminal import show
from cxrzero.errors import UsageError
from cxrzero.train.options import TrainOptions


def register(app: typer.Typer) -> None:
    # A recipe decides what the user leaves open, a run to resume even SOURCE and --out.
    app.command("train", cls=Command, no_args_is_help=True)(command(train, TrainOptions, config=True, complete=False))


def train(
    given: dict[str, Any],
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with a run that was stopped or killed; needs no SOURCE.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read everything once and report; train nothing.")] = False,
) -> None:
    r"""Train an image and a text encoder on pairs of images and their texts.

    [bold]cxrzero train pairs.csv --out runs/mine[/bold], then [bold]cxrzero predict folder/ --model runs/mine[/bold]

    Needs the extra: pip install 'cxrzero\[torch]'. Several GPUs: torchrun --nproc-per-node N -m cxrzero train …
    """
    from cxrzero import train as training
    from cxrzero.cli.training import TrainingDisplay

    if check:
        _check(given)
        return
    with TrainingDisplay() as display:
        if resume is not None:
            folder = training.resume(resume, given, display)
        else:
            missing = [name for name, field in (("SOURCE", "pairs"), ("--out", "out")) if field not in given]
            if missing:
                verb = "is" if len(missing) == 1 else "are"
                raise UsageError(f"{' and '.join(missing)} {verb} missing; give --resume DIR alone to go on with a run")
            command_line = shlex.join(["cxrzero", *sys.argv[1:]])
            folder = training.train(training.recipe_options(**given, command=command_line), display)
    display.say(f"Wrote {folder}{_next(folder)}")


def _next(folder: Path) -> str:
    """What to do with a finished run, as the end of a sentence."""
    from cxrzero.model.model_json import MODEL_JSON, read_json

    card = read_json(folder / MODEL_JSON)
    if card["provenance"]["beyond_chance"] is False:
        return ". This model did not learn: its results say nothing of a film."
    labels = "" if card["labels"] else " --labels FINDINGS"
    return f". Try: cxrzero predict FOLDER --model {folder}{labels}"


def _check(given: dict[str, Any]) -> None:
    """Write check.json and check.html into --out, or the current folder; exit 1 if nothing could be trained."""
    from tempfile import TemporaryDirectory

    from cxrzero import train as training
    from cxrzero.cli.checking import check_lines
    from cxrzero.cli.training import TrainingDisplay

    if "pairs" not in given:
        raise UsageError("SOURCE is missing; name what to check, a CSV of image and text or a folder")
    with TemporaryDirectory(prefix="cxrzero-check-") as scratch:
        # Without a run folder nobody would use the decoded images again.
        place = {} if "out" in given else {"out": Path(), "store": given.get("store", Path(scratch))}
        with TrainingDisplay() as display:
            found, seen = training.check(training.recipe_options(**(given | place)), display)
    for line in check_lines(found, seen):
        show(line)
    folder = given.get("out", Path())
    show(f"Wrote {folder / 'check.json'} and {folder / 'check.html'}")
    if not found.trainable:
        raise typer.Exit(1)
