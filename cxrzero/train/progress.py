"""What a training run tells about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that a run tells.

    Attributes:
        stage: "decode", "step", "validate" (a result), "save" or "export".
        done, total: files for "decode", optimiser steps otherwise.
        epoch: epochs finished.
        loss: of the last step.
        images_per_second: of the last steps, augmentation and text included.
        seconds_left: estimate for the whole training.
        auroc: (value, low, high) of the mean zero-shot AUROC; low and high are NaN where there is no interval.
        recall: mean of both directions' R@5 on the held-out pairs.
        recall_chance: what it is by chance.
        message: a sentence for the user.
    """

    stage: Literal["decode", "step", "validate", "save", "export", "note"]
    done: int = 0
    total: int = 0
    epoch: int = 0
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    auroc: tuple[float, float, float] | None = None
    recall: float | None = None
    recall_chance: float | None = None
    message: str | None = None


OnProgress = Callable[[Progress], None]
