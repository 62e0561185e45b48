"""Contrastive training on image-text pairs; ends in a model bundle.

    pairs.csv ─► pairs ─► store (decoded once) ─┐            ┌─► validation ─► checkpoints ─► export ─► bundle
                   └────► tokenizer ────────────┤► batches ─► loop (step, optimise, state) ─► metrics, curves
    --init ──────► start (model, preprocessing) ┘

Importing this package loads no torch, so that the command line can make its parameters of `TrainOptions`; `train` needs
the extra [torch].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero.errors import MissingExtraError
from cxrzero.train.options import TrainOptions
from cxrzero.train.progress import OnProgress, Progress
from cxrzero.train.recipes import recipe_options, resumed_options

if TYPE_CHECKING:
    from cxrzero.train.checking import Check
    from cxrzero.train.checkpage import Seen

__all__ = ["OnProgress", "Progress", "TrainOptions", "check", "recipe_options", "resume", "train"]


def train(options: TrainOptions, on_progress: OnProgress | None = None) -> Path:
    """Train an image and a text encoder on the pairs of `options` and write a model bundle.

    Args:
        options: what to train on and how.
        on_progress: called after every optimiser step and every validation.

    Returns:
        The run folder (`options.out`), which is itself a model bundle.

    Raises:
        UsageError: the pairs or options are wrong; nothing was trained.
        TrainingError: training could not go on (the loss is not finite again and again, an export that does not match
            the trained model).
        OutputError: a checkpoint cannot be written; the one before it is kept.
        MissingExtraError: torch, open_clip or onnx is not installed.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when the state is saved.
    """
    _need_extra()
    from cxrzero.train.loop import run

    return run(options, on_progress)


def resume(folder: Path, given: Mapping[str, Any] | None = None, on_progress: OnProgress | None = None) -> Path:
    """Go on with a run that was stopped, killed or interrupted, as if it had not been.

    Args:
        folder: its run folder.
        given: options as fields of TrainOptions; those that decide what is computed must be what they were.

    Raises:
        UsageError: there is no run, or its options or data have changed; the field is named.
    """
    _need_extra()
    from cxrzero.train.loop import run
    from cxrzero.train.runfolder import RunFolder

    options = resumed_options(RunFolder(folder).options(), given or {})
    return run(options, on_progress, resume=True)


def check(options: TrainOptions, on_progress: OnProgress | None = None) -> tuple[Check, list[Seen]]:
    """Read everything that a run would learn from once and say what it is; see `cxrzero.train.checking.check`."""
    _need_extra()
    from cxrzero.train.checking import check as run_check

    return run_check(options, on_progress)


def _need_extra() -> None:
    for module in ("torch", "open_clip", "onnx"):
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(module, "torch") from error
