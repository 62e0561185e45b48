"""Everything that a training run must remember between two steps, in one object that can be saved and restored.

There is no random state to keep: every draw follows from (seed, step, process).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from open_clip.model import CustomTextCLIP
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel


@dataclass
class Best:
    """One kept checkpoint.

    Attributes:
        file: its name in the folder of checkpoints.
        score: what it was chosen by, higher is better.
        validation: what was measured, as in metrics.jsonl.
    """

    step: int
    file: str
    score: float
    validation: dict[str, Any]


@dataclass
class TrainingState:
    """The moving parts of a run.

    Attributes:
        averaged: moving average of the weights, None = not asked for.
        step: optimiser steps done, skipped ones included; the schedule's and the sampler's position.
        skipped: steps left out because the loss was not finite.
        best: kept checkpoints, best first.
        stale: validations since the best one.
    """

    model: CustomTextCLIP
    optimiser: Optimizer
    averaged: AveragedModel | None
    step: int = 0
    skipped: int = 0
    best: list[Best] = field(default_factory=list)
    stale: int = 0

    @property
    def result(self) -> CustomTextCLIP:
        """The model that is validated and exported."""
        return self.model if self.averaged is None else self.averaged.module

    def to_dict(self) -> dict[str, Any]:
        """Tensors, numbers, texts, lists and dicts only."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "best": [asdict(best) for best in self.best],
            "stale": self.stale,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        if self.averaged is not None:
            self.averaged.load_state_dict(saved["averaged"])
        self.step, self.skipped, self.stale = saved["step"], saved["skipped"], saved["stale"]
        self.best = [Best(**best) for best in saved["best"]]

    def note(self, best: Best, keep: int) -> bool:
        """Enter a validated state among the best `keep`; whether it is one of them. A tie goes to the earlier one."""
        better = not self.best or best.score > self.best[0].score
        self.stale = 0 if better else self.stale + 1
        self.best = sorted([*self.best, best], key=lambda each: -each.score)[:keep]
        return best in self.best
