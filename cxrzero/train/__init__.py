"""Contrastive training on image-text pairs; ends in a model bundle.

    pairs.csv ─► pairs ─► store (decoded once) ─┐
                   └────► vocabulary ──────────┤► loop (sampler, augment, loss) ─► checkpoint ─► export ─► bundle

Importing this package loads no torch, so that the command line can build a `TrainConfig`; `train` needs the extra
[torch].
"""

from __future__ import annotations

from pathlib import Path

from cxrzero.errors import MissingExtraError
from cxrzero.train.config import OnProgress, Progress, TrainConfig

__all__ = ["OnProgress", "Progress", "TrainConfig", "train"]


def train(config: TrainConfig, on_progress: OnProgress | None = None) -> Path:
    """Train an image and a text encoder on the pairs of `config` and write a model bundle.

    Args:
        config: what to train on and how.
        on_progress: called after every optimiser step and every epoch.

    Returns:
        The run folder (`config.out`), which is itself a model bundle.

    Raises:
        UsageError: the pairs or options are wrong; nothing was trained.
        TrainingError: training could not go on (non-finite loss, export that does not match the trained model).
        MissingExtraError: torch, open_clip or onnx is not installed.
    """
    for module in ("torch", "open_clip", "onnx"):
        try:
            __import__(module)
        except ImportError as error:
            raise MissingExtraError(module, "torch") from error
    from cxrzero.train.loop import run

    return run(config, on_progress)
