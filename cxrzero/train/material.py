"""Everything that a run works with, once it is prepared; and what its kept checkpoints say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cxrzero.train.data.batches import Batches
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.pixels import EncoderInput
from cxrzero.train.data.store import Pictures
from cxrzero.train.distributed import World
from cxrzero.train.measure.validation import Validation, Validator
from cxrzero.train.model.start import Start
from cxrzero.train.options import TrainOptions
from cxrzero.train.provenance import arch_name, public_validation
from cxrzero.train.runfolder import RunFolder
from cxrzero.train.state import TrainingState


@dataclass(frozen=True)
class Material:
    """What a run works with.

    Attributes:
        options: as asked, with the precision that was chosen in place of "auto".
        start: with preprocessing and tokenizer complete.
        pixels: (N, H, W) uint8, in the order of the pairs' images.
        lr: peak learning rate.
        labels: what the model is asked without --labels.
        steps: optimiser steps of the whole run.
        validation_steps: after which the model is measured.
    """

    options: TrainOptions
    folder: RunFolder
    world: World
    start: Start
    pairs: Pairs
    pixels: Pictures
    batches: Batches
    validator: Validator
    prepare_pixels: EncoderInput
    lr: float
    steps: int
    validation_steps: frozenset[int]
    fingerprint: str
    labels: list[str]

    def weights(self, state: TrainingState, found: Validation) -> dict[str, Any]:
        """The content of a kept checkpoint: averaged weights and what an export needs to know."""
        options = self.options
        return {
            "arch": self.start.arch,
            "preprocess": [dict(step) for step in self.start.steps],
            "model": state.result.state_dict(),
            "scale": found.scale,
            "labels": self.labels,
            "provenance": {
                "seed": options.seed,
                "data_fingerprint": self.fingerprint,
                "init_sha256": self.start.source,
                "recipe": self._recipe() | {"epochs_done": state.step // self.batches.steps_per_epoch},
                "steps_done": state.step,
                "steps_skipped": state.skipped,
                "held_out_statement_auroc": found.statement_auroc,
                "validation": public_validation(found.to_dict()),
                "refit": None,
                "alike": None,
                "vocabulary": None if self.start.words is None else self.start.words.to_dict(),
            },
        }

    def _recipe(self) -> dict[str, Any]:
        """The fields that were decided, and the size of what they were decided for."""
        options = self.options
        names = (
            "recipe", "epochs", "batch_size", "optimiser", "weight_decay", "schedule", "warmup", "grad_clip",
            "ema_decay", "loss", "augment", "freeze", "image_lr_scale", "text_lr_scale", "layer_decay",
            "texts_per_image", "precision", "first_size", "first_share", "mixup",
        )  # fmt: skip
        chosen = {name: getattr(options, name) for name in names}
        chosen["grad_clip"] = None if options.grad_clip == float("inf") else options.grad_clip
        return chosen | {
            "arch": arch_name(self.start.arch),
            "lr": self.lr,
            "image_size": self.start.image_size,
            "training_images": int((~self.pairs.validation).sum()),
            "texts": len(self.pairs.texts),
            "processes": self.world.size,
        }
