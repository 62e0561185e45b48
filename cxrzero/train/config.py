"""What a training run is asked to do, and what it tells while running. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrzero.choices import Device, Loss, Optimiser, PairsLayout, Recipe, Schedule, TextRule, TowerName, TrainPrecision
from cxrzero.errors import UsageError

DEFAULT_ARCH = "cxrzero-mini"

# Values that a recipe sets; whatever the user states wins. "chexzero" is the training of CheXzero's reference code:
# stochastic gradient descent at one rate, no validation, no average, no augmentation, CLIP's plain loss.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "chexzero": {
        "arch": "ViT-B-32-quickgelu",
        "optimiser": "sgd",
        "lr": 1e-4,
        "momentum": 0.9,
        "schedule": "constant",
        "weight_decay": 0.0,
        "grad_clip": math.inf,
        "max_logit_scale": math.inf,
        "epochs": 4,
        "batch_size": 16,
        "texts_per_image": 1,
        "ema_decay": 0.0,
        "augment": False,
        "preprocess": "chexzero",
        "loss": "clip",
        "text_rule": "chexzero",
    },
}

# Fields that say how a run is carried out and not what it computes: these may change when it is resumed.
EXECUTION = frozenset(
    {
        "out",
        "device",
        "threads",
        "micro_batch",
        "save_every",
        "save_minutes",
        "command",
        "overwrite",
        "card",
        "ensemble",
        "store",
        "decode_workers",
    }
)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        pairs: what to train on; see `cxrzero.train.data.pairs`.
        out: run folder; receives checkpoints, metrics and the finished bundle.
        image_root: folder that relative image paths start from; None = the folder of `pairs`.
        layout: how `pairs` is read; "auto" recognises it, see `cxrzero.train.data.layouts`.
        text_rule: which words of a report are taken, see `cxrzero.train.data.reports.rules`.
        val_fraction: part of the patients kept for validation where `pairs` states no split.
        store: folder of decoded images that runs may share; None = in the run folder. See `cxrzero.train.data.store`.
        decode_workers: processes that decode; None = one for each core, at most 16.
        skip_unreadable: go on without images and reports that are missing or cannot be read.
        recipe: whose values the fields were filled from; see `recipe_config`.
        arch: a built-in architecture, any of open_clip's, or path of a JSON file in its form; None = what `init`
            says of itself, else DEFAULT_ARCH.
        init: where the weights come from: run folder, bundle, model folder, file of weights; None = random.
        lineage: whose preprocessing and activation belong to a file of weights; None = known by its name.
        epochs: passes over the data; an epoch draws as many images as there are.
        batch_size: images that one optimiser step contrasts, over all processes.
        micro_batch: images of one forward pass; None = the whole batch. Less memory, same loss, about a third slower.
        optimiser, lr, momentum, weight_decay: lr is the peak; None = 1e-3 for the built-in architectures, 5e-4 for
            open_clip's from scratch, 5e-5 from `init`. Weight decay acts on matrices and kernels only.
        schedule: "cosine" falls to zero after `warmup` (fraction of all steps); "constant" has no warm-up either.
        grad_clip: largest norm of the gradient.
        max_logit_scale: the logit scale is kept in [1, this].
        ema_decay: largest decay per step of the averaged weights that are validated and exported; 0 = no average.
        freeze: this tower keeps its weights (LiT, Zhai et al. 2022).
        image_lr_scale, text_lr_scale: factors on lr for one tower.
        loss: "soft" contrasts and never takes a true text as a negative; "sigmoid" asks of every image and text of a
            batch whether it is true; "clip" is CLIP's loss. See `cxrzero.train.step.loss`.
        augment: whether training images are varied; see `cxrzero.train.data.augment`.
        mixup: each image is blended with another of its group, and so is what is true of it; the shape of the beta
            distribution that the shares are drawn from (Zhang et al., mixup, ICLR 2018); 0 = not.
        preprocess: "chexzero" = the reference's; None = the start's own, else stretched and standardised by the data.
        seed: of weights, sampling and augmentation.
        image_size: side of the square input in pixels; None = the architecture's own.
        first_size, first_share: the first share of the steps is taken on images of this side, for image towers that
            read any size (convolutional ones): most of what is learned early is coarse, and costs half. None = not.
        texts_per_image: texts drawn for an image each time it is seen.
        precision: "bf16" runs the encoders under autocast; weights and loss stay float32.
        device, threads: where to compute; threads None = torch's default.
        val_labels: CSV of image and label columns with 0 and 1, asked zero-shot at every validation.
        val_every: optimiser steps between validations; None = an epoch.
        keep: best checkpoints that are kept.
        ensemble: best checkpoints that are exported as an ensemble, a folder of bundles; 0 = none.
        patience: stop after this many validations without a better one; None = never.
        save_every, save_minutes: a checkpoint after so many steps, or so many minutes, besides one every epoch.
        tokenizer_texts: a file with one text a line that a learned tokenizer learns from beside the training texts.
        card: JSON file with facts for model.json (name, labels, license, intended_use, training_data).
        command: the command line to record as provenance; None = unknown.
        overwrite: whether a run that is in `out` already may be replaced.
    """

    pairs: Path
    out: Path
    image_root: Path | None = None
    layout: PairsLayout = "auto"
    text_rule: TextRule = "sentences"
    val_fraction: float = 0.0
    skip_unreadable: bool = False
    store: Path | None = None
    decode_workers: int | None = None
    recipe: Recipe = "default"
    arch: str | None = None
    init: Path | None = None
    lineage: str | None = None
    epochs: int = 20
    batch_size: int = 128
    micro_batch: int | None = None
    optimiser: Optimiser = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.05
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    grad_clip: float = 1.0
    max_logit_scale: float = 100.0
    ema_decay: float = 0.998
    freeze: TowerName | None = None
    image_lr_scale: float = 1.0
    text_lr_scale: float = 1.0
    loss: Loss = "soft"
    augment: bool = True
    mixup: float = 0.0
    preprocess: Literal["chexzero"] | None = None
    seed: int = 0
    image_size: int | None = None
    first_size: int | None = None
    first_share: float = 0.5
    texts_per_image: int = 2
    precision: TrainPrecision = "fp32"
    device: Device = "auto"
    threads: int | None = None
    val_labels: Path | None = None
    val_every: int | None = None
    keep: int = 1
    ensemble: int = 0
    patience: int | None = None
    save_every: int | None = None
    save_minutes: float = 15.0
    tokenizer_texts: Path | None = None
    card: Path | None = None
    command: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "texts_per_image", "keep", "grad_clip", "save_minutes"):
            _check(name, getattr(self, name) > 0, getattr(self, name), "greater than 0")
        for name in ("lr", "micro_batch", "val_every", "patience", "save_every", "threads", "decode_workers"):
            value = getattr(self, name)
            _check(name, value is None or value > 0, value, "greater than 0")
        for name in ("warmup", "ema_decay", "momentum", "val_fraction", "first_share"):
            _check(name, 0 <= getattr(self, name) < 1, getattr(self, name), "at least 0 and less than 1")
        for name in ("image_lr_scale", "text_lr_scale", "weight_decay", "ensemble", "mixup"):
            _check(name, getattr(self, name) >= 0, getattr(self, name), "at least 0")
        _check("max_logit_scale", self.max_logit_scale >= 1, self.max_logit_scale, "at least 1")
        if self.batch_size < 2:
            raise UsageError(f"batch_size must be at least 2, not {self.batch_size}: a contrast needs two images")
        for name in ("image_size", "first_size"):
            value = getattr(self, name)
            _check(name, value is None or 32 <= value <= 1024, value, "between 32 and 1024 pixels")
        if self.lineage is not None and self.init is None:
            raise UsageError(f"--as {self.lineage} says whose weights --init names; give --init too")
        if self.loss == "clip" and self.texts_per_image != 1:
            raise UsageError(f"the loss 'clip' takes one text an image; texts_per_image is {self.texts_per_image}")
        if self.loss == "clip" and self.mixup:
            raise UsageError(
                "the loss 'clip' knows no half truths; leave out mixup, or take the loss 'soft' or 'sigmoid'"
            )


def recipe_config(recipe: str, **given: Any) -> TrainConfig:
    """A run of a recipe.

    Args:
        given: fields of TrainConfig; None leaves a field to the recipe.

    Raises:
        UsageError: a value is out of range, or there is no such recipe.
    """
    if recipe not in RECIPES:
        raise UsageError(f"there is no recipe {recipe!r}; choose from {', '.join(RECIPES)}")
    stated = {name: value for name, value in given.items() if value is not None}
    return TrainConfig(**(RECIPES[recipe] | stated | {"recipe": recipe}))


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Every field as JSON knows it; paths absolute, so that a run can be resumed from any folder."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_json(fields: Mapping[str, Any]) -> TrainConfig:
    """The inverse of `to_json`."""
    paths = {field.name for field in dataclasses.fields(TrainConfig) if "Path" in str(field.type)}
    restored: dict[str, Any] = {
        name: Path(value) if name in paths and value is not None else value for name, value in fields.items()
    }
    return TrainConfig(**restored)


def resumed_config(recorded: TrainConfig, given: Mapping[str, Any]) -> TrainConfig:
    """The recorded run with those given options that may change.

    Raises:
        UsageError: another option differs from what the run was started with; it is named.
    """
    for name, value in given.items():
        if name not in EXECUTION and _plain(value) != _plain(getattr(recorded, name)):
            before = _plain(getattr(recorded, name))
            raise UsageError(
                f"{name.replace('_', '-')} is {_plain(value)!r} but the run in {recorded.out} was started with "
                f"{'its default' if before is None else repr(before)}; resume without it, or start another run with "
                "another --out"
            )
    return dataclasses.replace(recorded, **{name: given[name] for name in given if name in EXECUTION})


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return "inf" if value == math.inf else value


def _check(name: str, good: bool, value: object, wanted: str) -> None:
    if not good:
        raise UsageError(f"{name} must be {wanted}, not {value}")


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run tells about itself.

    Attributes:
        stage: "decode", "step", "validate" (a result), "save" or "export".
        done, total: files for "decode", optimiser steps otherwise.
        epoch: epochs finished.
        loss: of the last step.
        images_per_second: of the last steps, augmentation and text included.
        seconds_left: estimate for the whole training.
        auroc: (value, low, high) of the mean zero-shot AUROC; low and high are NaN where there is no interval.
        recall: mean of both directions' R@5 on the held-out pairs.
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
    message: str | None = None


OnProgress = Callable[[Progress], None]
