"""What `cxrzero train` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxrzero.choices import Device, Loss, Optimiser, PairsLayout, Recipe, Schedule, TextRule, TowerName, TrainPrecision
from cxrzero.errors import UsageError
from cxrzero.options import ADVANCED, REQUIRED, argument, option

DEFAULT_ARCH = "cxrzero-mini"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """One training run; each field says what it is for.

    What decides nothing says how a run is carried out and not what it computes: it may change when the run is resumed.
    """

    # What is learned from; see `cxrzero.train.data`.
    pairs: Path = argument("SOURCE", "CSV of image,text or image,report; or a folder of images and reports.")
    out: Path = option(
        REQUIRED, "Run folder; ends as a bundle for predict.", short="-o", metavar="DIR", decides="nothing"
    )
    image_root: Path | None = option(None, "Where relative image paths start.", metavar="DIR", panel=ADVANCED)
    layout: PairsLayout = option("auto", "What SOURCE is; else recognised.", panel=ADVANCED)
    text_rule: TextRule = option("sentences", "Which words of a report are taken.", panel=ADVANCED)
    val_fraction: float = option(0.0, "Patients kept out where SOURCE states no split.", metavar="X", panel=ADVANCED)
    skip_unreadable: bool = option(False, "Go on without what is missing or cannot be read.", panel=ADVANCED)
    store: Path | None = option(
        None, "Decoded images, for several runs to share.", metavar="DIR", panel=ADVANCED, decides="nothing"
    )
    decode_workers: int | None = option(
        None,
        "Decoding processes. Default: one for each core.",
        metavar="N",
        panel=ADVANCED,
        decides="nothing",
    )

    # Where the model comes from; see `cxrzero.train.model.start`.
    recipe: Recipe = option("default", "chexzero: the training of CheXzero's paper.")
    arch: str | None = option(None, f"Built-in, any of open_clip's, or a JSON file. Default: {DEFAULT_ARCH}.")
    init: Path | None = option(None, "Start from a run, bundle, model folder or file of weights.", metavar="MODEL")
    lineage: str | None = option(
        None, "Whose weights a bare file of --init holds.", flag="--as", metavar="CARD", panel=ADVANCED
    )

    # The steps. An epoch draws as many images as there are.
    epochs: int = option(20, "Passes over the data.", metavar="N")
    batch_size: int = option(128, "Images that one step contrasts, over all processes.", metavar="N")
    micro_batch: int | None = option(
        None,
        "Images of one forward pass; same loss, less memory, about a third slower.",
        metavar="N",
        panel=ADVANCED,
        decides="nothing",
    )
    optimiser: Optimiser = option("adamw", "What takes the steps.", hidden=True)
    lr: float | None = option(None, "Peak learning rate. Default: by start, see docs/train.md.", metavar="X")
    momentum: float = option(0.9, "Of sgd.", hidden=True)
    weight_decay: float = option(0.05, "Of matrices and kernels.", metavar="X", panel=ADVANCED)
    schedule: Schedule = option(
        "cosine", "cosine falls to zero after the warm-up; constant has no warm-up either.", hidden=True
    )
    warmup: float = option(0.05, "Part of the steps in which the rate rises.", hidden=True)
    grad_clip: float = option(1.0, "Largest norm of the gradient.", hidden=True)
    max_logit_scale: float = option(100.0, "The logit scale is kept in [1, this].", hidden=True)
    ema_decay: float = option(
        0.998,
        "Largest decay per step of the averaged weights that are validated and exported; 0: no average.",
        hidden=True,
    )
    freeze: TowerName | None = option(
        None, "Keep this tower's weights (LiT, Zhai et al. 2022); needs --init.", panel=ADVANCED
    )
    image_lr_scale: float = option(1.0, "Factor on --lr for the image tower.", metavar="X", panel=ADVANCED)
    text_lr_scale: float = option(1.0, "Factor on --lr for the text tower.", metavar="X", panel=ADVANCED)
    loss: Loss = option(
        "soft",
        "soft contrasts, sigmoid asks of each text whether it is true, clip is CLIP's.",
        panel=ADVANCED,
    )
    augment: bool = option(True, "Vary training images; never flipped.", flag="--augment/--no-augment", panel=ADVANCED)
    mixup: float = option(
        0.0, "Blend pairs of images and their truths; e.g. 0.4 (Zhang et al. 2018).", metavar="X", panel=ADVANCED
    )
    preprocess: Literal["chexzero"] | None = option(
        None,
        "chexzero: the reference's; else the start's own, else stretched and standardised by the data.",
        hidden=True,
    )
    seed: int = option(0, "Of weights, sampling and augmentation.", metavar="N")
    image_size: int | None = option(None, "Default: the architecture's own.", metavar="PIXELS", panel=ADVANCED)
    first_size: int | None = option(
        None, "Smaller images for the first steps; convolutions only.", metavar="PIXELS", panel=ADVANCED
    )
    first_share: float = option(0.5, "Part of the steps at --first-size.", metavar="X", panel=ADVANCED)
    texts_per_image: int = option(2, "Texts drawn for an image each time.", metavar="N", panel=ADVANCED)
    precision: TrainPrecision = option("fp32", "bf16: autocast; weights stay float32.", panel=ADVANCED)
    device: Device = option("auto", "Where to compute.", panel=ADVANCED, decides="nothing")
    threads: int | None = option(None, "CPU threads.", metavar="N", panel=ADVANCED, decides="nothing")

    # What is measured on the way, and what is kept.
    val_labels: Path | None = option(
        None, "Labelled images (image, then 0/1 columns), asked every epoch.", metavar="CSV"
    )
    val_every: int | None = option(None, "Steps between validations.", metavar="N", panel=ADVANCED)
    keep: int = option(1, "Best checkpoints kept.", metavar="K", panel=ADVANCED)
    ensemble: int = option(
        0,
        "Export the best K as DIR/ensemble, for --model.",
        metavar="K",
        panel=ADVANCED,
        decides="nothing",
    )
    patience: int | None = option(None, "Stop after N validations without a better one.", metavar="N", panel=ADVANCED)
    save_every: int | None = option(None, "Steps between checkpoints.", metavar="N", panel=ADVANCED, decides="nothing")
    save_minutes: float = option(15.0, "Minutes between checkpoints.", metavar="M", panel=ADVANCED, decides="nothing")
    tokenizer_texts: Path | None = option(
        None, "More text for the tokenizer to learn from.", metavar="TXT", panel=ADVANCED
    )
    card: Path | None = option(None, "Facts for the model's card.", metavar="JSON", panel=ADVANCED, decides="nothing")
    command: str | None = option(None, "The command line, as provenance.", hidden=True, decides="nothing")
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


def _check(name: str, good: bool, value: object, wanted: str) -> None:
    if not good:
        raise UsageError(f"{name} must be {wanted}, not {value}")
