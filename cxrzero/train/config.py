"""What a training run is asked to do, and what it tells while running. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrzero.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        pairs: CSV with the columns `image,text` and optionally `patient_id`, `split`, `group`, `weight`; see
            `cxrzero.train.pairs`.
        out: run folder; receives checkpoint, metrics and the finished bundle.
        image_root: folder that relative image paths start from; None = the folder of `pairs`.
        arch: name of an architecture that comes with the package, or path of a JSON file of the same form.
        epochs: passes over the data; an epoch draws as many images as there are.
        batch_size: images per optimiser step.
        lr: peak learning rate of AdamW, reached after `warmup`, then cosine to zero.
        weight_decay: of AdamW, on matrices and kernels only.
        warmup: fraction of all steps.
        grad_clip: largest norm of the gradient.
        ema_decay: largest decay per step of the averaged weights that are validated and exported.
        seed: of weights, sampling and augmentation.
        image_size: side of the square input in pixels; None = the architecture's own.
        texts_per_image: statements drawn for an image each time it is seen.
        precision: "bf16" runs the encoders under autocast; weights and loss stay float32.
        threads: torch threads; None = torch's default.
        tokenizer_texts: a file with one text a line that the tokenizer learns from beside the training texts.
        card: JSON file with facts for model.json (name, labels, license, intended_use, training_data).
        command: the command line to record as provenance; None = unknown.
        overwrite: whether a run that is in `out` already may be replaced.
    """

    pairs: Path
    out: Path
    image_root: Path | None = None
    arch: str = "cxrzero-mini"
    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    grad_clip: float = 1.0
    ema_decay: float = 0.998
    seed: int = 0
    image_size: int | None = None
    texts_per_image: int = 2
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    tokenizer_texts: Path | None = None
    card: Path | None = None
    command: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        positive = {
            "epochs": self.epochs,
            "lr": self.lr,
            "texts_per_image": self.texts_per_image,
            "grad_clip": self.grad_clip,
        }
        for name, value in positive.items():
            if not value > 0:
                raise UsageError(f"{name} must be greater than 0, not {value}")
        if self.batch_size < 2:
            raise UsageError(f"batch_size must be at least 2, not {self.batch_size}: a contrast needs two images")
        if not 0 <= self.warmup < 1 or not 0 <= self.ema_decay < 1:
            raise UsageError("warmup and ema_decay must lie in [0, 1)")
        if self.image_size is not None and not 32 <= self.image_size <= 1024:
            raise UsageError(f"image_size must lie between 32 and 1024 pixels, not {self.image_size}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, not {self.threads}")


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells about itself.

    Attributes:
        stage: "decode", "step", "epoch" or "export".
        done, total: files for "decode", optimiser steps otherwise.
        epoch: epochs finished.
        loss: of the last step, or the mean of the epoch.
        images_per_second: since the epoch began, augmentation and text included.
        seconds_left: estimate for the whole training.
        validation: mean AUROC of the statements on the validation rows; None where there are none.
    """

    stage: Literal["decode", "step", "epoch", "export"]
    done: int
    total: int
    epoch: int = 0
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    validation: float | None = None


OnProgress = Callable[[Progress], None]
