"""What `cxrzero train` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrzero.choices import (
    DEVICES,
    Device,
    Loss,
    Optimiser,
    PairsLayout,
    Recipe,
    Schedule,
    TextRule,
    TowerName,
    TrainPrecision,
    parse_device,
)
from cxrzero.errors import UsageError
from cxrzero.options import ADVANCED, REQUIRED, argument, option

DEFAULT_ARCH = "cxrzero-mini"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """One training run; each field says what it is for.

    What decides nothing says how a run is carried out and not what it computes: it may change when the run is resumed.
    """

    # What is learned from; see `cxrzero.train.data`.
    pairs: Path = argument("SOURCE", "Give a CSV of image,text or image,report, or a folder of images and reports.")
    out: Path = option(
        REQUIRED,
        "Write the run to this folder, which in the end is a model for predict.",
        short="-o",
        metavar="DIR",
        decides="nothing",
    )
    image_root: Path | None = option(None, "Start relative image paths at this folder.", metavar="DIR", panel=ADVANCED)
    layout: PairsLayout = option(
        "auto", "Say how SOURCE is laid out; auto recognises it and says what it found.", panel=ADVANCED
    )
    text_rule: TextRule = option("sentences", "Take these words of a report.", panel=ADVANCED)
    val_fraction: float = option(
        0.0, "Keep this share of the patients for validation where SOURCE states no split.", metavar="X", panel=ADVANCED
    )
    skip_unreadable: bool = option(
        False, "Leave out files that are missing or cannot be read, and go on.", panel=ADVANCED
    )
    store: Path | None = option(
        None,
        "Keep the decoded images in this folder, which several runs can share.",
        metavar="DIR",
        panel=ADVANCED,
        decides="nothing",
    )
    decode_workers: int | None = option(
        None,
        "Decode in N processes; by default one for each core.",
        metavar="N",
        panel=ADVANCED,
        decides="nothing",
    )

    # Where the model comes from; see `cxrzero.train.model.start`.
    recipe: Recipe = option("default", "Train by this recipe; chexzero is the training of CheXzero's paper.")
    arch: str | None = option(
        None,
        f"Build this architecture: a built-in one, any of open_clip's, or a JSON file. Default: {DEFAULT_ARCH}.",
        metavar="ARCH",
    )
    init: Path | None = option(
        None, "Start from the weights of a run, a bundle, a model's folder or a file.", metavar="MODEL"
    )
    lineage: str | None = option(
        None, "Say whose weights a bare file of --init holds.", flag="--as", metavar="CARD", panel=ADVANCED
    )

    # The steps. An epoch draws as many images as there are.
    epochs: int = option(20, "Go through the data N times.", metavar="N")
    batch_size: int = option(128, "Contrast N images in each step, over all processes.", metavar="N")
    micro_batch: int | None = option(
        None,
        "Compute N images in one forward pass: the same loss in less memory, about a third slower.",
        metavar="N",
        panel=ADVANCED,
        decides="nothing",
    )
    optimiser: Optimiser = option("adamw", "Take the steps with this optimiser.", hidden=True)
    lr: float | None = option(
        None,
        "Set the peak of the learning rate; its default depends on the start, see docs/train.md.",
        metavar="X",
    )
    momentum: float = option(0.9, "Set the momentum of sgd.", hidden=True)
    weight_decay: float = option(
        0.05, "Set the weight decay of matrices and kernels; biases and norms have none.", metavar="X", panel=ADVANCED
    )
    schedule: Schedule = option(
        "cosine",
        "Change the learning rate by this rule: cosine falls to zero after the warm-up; constant has no warm-up.",
        hidden=True,
    )
    warmup: float = option(0.05, "Let the learning rate rise over this part of the steps.", hidden=True)
    grad_clip: float = option(1.0, "Limit the norm of the gradient.", hidden=True)
    max_logit_scale: float = option(100.0, "Keep the logit scale between 1 and this.", hidden=True)
    ema_decay: float = option(
        0.998,
        "Set the largest decay per step of the averaged weights that are validated and exported; 0 takes no average.",
        hidden=True,
    )
    freeze: TowerName | None = option(
        None, "Keep the weights of this tower as they are (LiT, Zhai et al. 2022); needs --init.", panel=ADVANCED
    )
    image_lr_scale: float = option(1.0, "Multiply --lr by this for the image tower.", metavar="X", panel=ADVANCED)
    text_lr_scale: float = option(1.0, "Multiply --lr by this for the text tower.", metavar="X", panel=ADVANCED)
    layer_decay: float = option(
        1.0,
        "Multiply the rate of each block of the image tower by this for the block below it (BEiT, Bao et al. 2022).",
        metavar="X",
        panel=ADVANCED,
    )
    loss: Loss = option(
        "soft",
        "Learn by this loss: soft contrasts, sigmoid asks whether each text is true, clip is that of CLIP.",
        panel=ADVANCED,
    )
    refit: bool = option(
        False,
        "Fit the image tower's projection once more at the end, to every truth of every training image (ridge "
        "regression).",
        panel=ADVANCED,
    )
    alike: str | None = option(
        None,
        "Remove from the image embeddings what tells the groups of films apart for which TEXT is true, such as "
        '"no finding" (LEACE, Belrose et al. 2023).',
        metavar="TEXT",
        panel=ADVANCED,
    )
    augment: bool = option(
        True, "Vary the training images, which are never flipped.", flag="--augment/--no-augment", panel=ADVANCED
    )
    mixup: float = option(
        0.0, "Blend pairs of images and their truths, for example 0.4 (Zhang et al. 2018).", metavar="X", panel=ADVANCED
    )
    preprocess: Literal["chexzero"] | None = option(
        None,
        "Prepare images as CheXzero did; by default as the model of --init does, else stretched and standardised.",
        hidden=True,
    )
    seed: int = option(0, "Seed the weights, the sampling and the augmentation.", metavar="N")
    image_size: int | None = option(
        None, "Train at this size; by default the architecture's own.", metavar="PIXELS", panel=ADVANCED
    )
    first_size: int | None = option(
        None,
        "Take smaller images for the first steps; of convolutional networks only.",
        metavar="PIXELS",
        panel=ADVANCED,
    )
    first_share: float = option(0.5, "Spend this part of the steps at --first-size.", metavar="X", panel=ADVANCED)
    texts_per_image: int = option(2, "Draw N texts for an image each time.", metavar="N", panel=ADVANCED)
    precision: TrainPrecision = option(
        "fp32",
        "Compute in this number format; with bf16 (autocast) the weights stay float32; auto measures which is faster.",
        panel=ADVANCED,
    )
    device: Device = option(
        "auto", "Compute on this device.", metavar=DEVICES, check=parse_device, panel=ADVANCED, decides="nothing"
    )
    threads: int | None = option(
        None, "Compute with N threads of the CPU.", metavar="N", panel=ADVANCED, decides="nothing"
    )

    # What is measured on the way, and what is kept.
    val_labels: Path | None = option(
        None, "Measure every epoch on labelled images: a column image, then columns of 0 and 1.", metavar="CSV"
    )
    val_every: int | None = option(None, "Validate every N steps.", metavar="N", panel=ADVANCED)
    keep: int = option(1, "Keep the K best checkpoints.", metavar="K", panel=ADVANCED)
    ensemble: int = option(
        0,
        "Export the best K checkpoints to DIR/ensemble, which --model of predict takes.",
        metavar="K",
        panel=ADVANCED,
        decides="nothing",
    )
    patience: int | None = option(
        None, "Stop after N validations in a row that bring nothing better.", metavar="N", panel=ADVANCED
    )
    save_every: int | None = option(
        None, "Save a checkpoint every N steps.", metavar="N", panel=ADVANCED, decides="nothing"
    )
    save_minutes: float = option(
        15.0, "Save a checkpoint every M minutes.", metavar="M", panel=ADVANCED, decides="nothing"
    )
    tokenizer_texts: Path | None = option(
        None, "Let the tokenizer learn from this text too.", metavar="TXT", panel=ADVANCED
    )
    card: Path | None = option(
        None, "Add these facts to the model's card.", metavar="JSON", panel=ADVANCED, decides="nothing"
    )
    command: str | None = option(None, "Record this command line as provenance.", hidden=True, decides="nothing")
    overwrite: bool = option(False, "Replace a run that is in DIR already.", decides="nothing")

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
        _check("layer_decay", 0 < self.layer_decay <= 1, self.layer_decay, "greater than 0 and at most 1")
        if self.batch_size < 2:
            raise UsageError(f"--batch-size must be at least 2, not {self.batch_size}: a contrast needs two images")
        for name in ("image_size", "first_size"):
            value = getattr(self, name)
            _check(name, value is None or 32 <= value <= 1024, value, "between 32 and 1024 pixels")
        if self.lineage is not None and self.init is None:
            raise UsageError(f"--as {self.lineage} says whose weights --init names; give --init too")
        for flag, asked in (("--alike", self.alike is not None), ("--refit", self.refit)):
            if asked and self.freeze == "image":
                raise UsageError(f"{flag} changes the image tower's projection; leave out --freeze image")
        if self.loss == "clip" and self.texts_per_image != 1:
            raise UsageError(
                f"--loss clip takes one text for each image; give --texts-per-image 1, not {self.texts_per_image}"
            )
        if self.loss == "clip" and self.mixup:
            raise UsageError(
                "--loss clip has no place for half truths; leave out --mixup, or take --loss soft or sigmoid"
            )


def _check(name: str, good: bool, value: object, wanted: str) -> None:
    if not good:
        raise UsageError(f"--{name.replace('_', '-')} must be {wanted}, not {value}")
