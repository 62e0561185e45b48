"""The training loop, top to bottom. It does not know how a bundle is written (`export`) or what a finding is.

One epoch: draw images and texts, augment, encode both, contrast them within their group, step and average the weights;
then validate the average and write the checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from open_clip.model import CustomTextCLIP
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from cxrzero.bundle import MODEL_JSON, TOKENIZER
from cxrzero.errors import OutputExistsError, TrainingError, UsageError
from cxrzero.train.augment import augment
from cxrzero.train.config import OnProgress, Progress, TrainConfig
from cxrzero.train.export import CHECKPOINT, export_run
from cxrzero.train.loss import grouped_loss
from cxrzero.train.model import MAX_LOGIT_SCALE, build_model, load_arch, weight_groups
from cxrzero.train.pairs import Pairs, default_labels, read_pairs
from cxrzero.train.sampler import Sampler
from cxrzero.train.store import ImageStore, open_store
from cxrzero.train.validate import Statement, find_statements, fit_scale, mean_auroc
from cxrzero.train.vocabulary import encode, learn_tokenizer


@dataclass
class _Run:
    """Everything that the steps of a run share."""

    config: TrainConfig
    pairs: Pairs
    store: ImageStore
    ids: Tensor  # (T, L) int64
    groups: Tensor  # (N,) int64
    mean: float
    std: float
    statements: list[Statement]

    def images(self, index: npt.NDArray[np.int64], generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) float32, normalised, channels last; augmented if a generator is given."""
        pixels = torch.from_numpy(self.store.pixels[index]).float() / 255
        if generator is not None:
            pixels = augment(pixels, generator)
        pixels = (pixels - self.mean) / self.std
        return pixels[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)

    def tokens(self, texts: npt.NDArray[np.int64] | Tensor) -> Tensor:
        """(B, L') int64, cut to the longest of these texts: padding changes nothing and costs time."""
        ids = self.ids[texts]
        return ids[:, : int((ids != 0).sum(dim=1).max())]


def run(config: TrainConfig, on_progress: OnProgress | None = None) -> Path:
    """See `cxrzero.train.train`."""
    report = on_progress or (lambda _: None)
    if (config.out / MODEL_JSON).exists() and not config.overwrite:
        raise OutputExistsError(f"{config.out} holds a finished run; choose another folder or pass --overwrite")
    arch = load_arch(config.arch, config.image_size)
    pairs = read_pairs(config.pairs, config.image_root)
    training = int((~pairs.validation).sum())
    if training < config.batch_size:
        raise UsageError(
            f"a batch of {config.batch_size} is larger than the data ({training} training images); lower --batch-size"
        )
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = build_model(arch).to(memory_format=torch.channels_last)

    config.out.mkdir(parents=True, exist_ok=True)
    size = arch["vision_cfg"]["image_size"]
    store = open_store(pairs, config.out / "store", size, lambda n, total: report(Progress("decode", n, total)))
    tokenizer = _tokenizer(config, pairs, arch["text_cfg"]["vocab_size"])
    tokenizer.save(str(config.out / TOKENIZER))
    names = sorted(set(pairs.groups))
    sample = store.pixels[np.flatnonzero(~pairs.validation)[:2048]].astype(np.float64) / 255
    state = _Run(
        config=config,
        pairs=pairs,
        store=store,
        ids=torch.from_numpy(encode(tokenizer, pairs.texts, arch["text_cfg"]["context_length"])),
        groups=torch.tensor([names.index(group) for group in pairs.groups]),
        mean=round(float(sample.mean()), 4),
        std=round(float(sample.std()), 4),
        statements=find_statements(pairs),
    )
    _fit(state, model, arch, report)
    total = config.epochs * (training // config.batch_size)
    report(Progress("export", total, total, config.epochs))
    return export_run(config.out, card=config.card)


def _tokenizer(config: TrainConfig, pairs: Pairs, vocab_size: int) -> Tokenizer:
    texts = list(pairs.texts)
    if config.tokenizer_texts is not None:
        try:
            texts += config.tokenizer_texts.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{config.tokenizer_texts} cannot be read as UTF-8 text: {error}") from error
    return learn_tokenizer(texts, vocab_size)


def _fit(state: _Run, model: CustomTextCLIP, arch: dict[str, Any], report: OnProgress) -> None:
    config = state.config
    sampler = Sampler(state.pairs, config.batch_size, config.texts_per_image, config.seed)
    steps = config.epochs * sampler.steps
    optimiser = torch.optim.AdamW(weight_groups(model, config.weight_decay), lr=config.lr, betas=(0.9, 0.98))
    warmup = max(1, round(config.warmup * steps))
    averaged = AveragedModel(model, multi_avg_fn=_moving_average(config.ema_decay), use_buffers=True)
    started, step = time.monotonic(), 0
    (config.out / "metrics.jsonl").unlink(missing_ok=True)
    for epoch in range(config.epochs):
        model.train()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        losses, began = [], time.monotonic()
        for images, texts in sampler.epoch(epoch):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _schedule(step, steps, warmup)
            losses.append(_step(state, model, optimiser, images, texts, generator))
            averaged.update_parameters(model)
            step += 1
            elapsed = time.monotonic() - started
            speed = len(losses) * config.batch_size / (time.monotonic() - began)
            left = elapsed / step * (steps - step)
            report(Progress("step", step, steps, epoch, losses[-1], speed, left))
        validation, scale = _validate(state, averaged.module)
        _write_checkpoint(state, averaged.module, arch, epoch + 1, scale, validation)
        speed = len(losses) * config.batch_size / (time.monotonic() - began)
        loss = float(np.mean(losses))
        _log(
            config.out,
            {
                "epoch": epoch + 1,
                "loss": loss,
                "images_per_second": speed,
                "statement_auroc": validation,
                "scale": scale,
                "logit_scale": model.logit_scale.exp().item(),
                "seconds": elapsed,
            },
        )
        report(Progress("epoch", step, steps, epoch + 1, loss, speed, left, validation))


def _schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine to zero, as a fraction of the peak."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _moving_average(decay: float) -> Any:
    """Exponential average whose memory grows with the run: min(decay, (1 + n) / (10 + n)), n = steps averaged."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        rate = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, rate)
            else:
                old.copy_(new)

    return update


def _step(
    state: _Run,
    model: CustomTextCLIP,
    optimiser: torch.optim.Optimizer,
    images: npt.NDArray[np.int64],
    texts: list[npt.NDArray[np.int64]],
    generator: torch.Generator,
) -> float:
    unique, inverse = np.unique(np.concatenate(texts), return_inverse=True)
    shown = torch.zeros(len(images), len(unique), dtype=torch.bool)
    shown[np.repeat(np.arange(len(images)), [len(t) for t in texts]), inverse] = True
    truth = torch.from_numpy(np.stack([np.isin(unique, state.pairs.true_texts[i]) for i in images]))
    with _autocast(state.config):
        image_embeds = model.visual(state.images(images, generator))
        text_embeds = model.text(state.tokens(unique))
    loss = grouped_loss(
        functional.normalize(image_embeds.float(), dim=-1),
        functional.normalize(text_embeds.float(), dim=-1),
        truth,
        shown,
        state.groups[images],
        model.logit_scale.exp(),
    )
    if not torch.isfinite(loss):
        names = ", ".join(state.pairs.images[i] for i in images[:5])
        raise TrainingError(f"the loss is {loss.item()}; lower --lr or look at the batch that began with {names}")
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), state.config.grad_clip)
    optimiser.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
    return loss.item()


@contextmanager
def _autocast(config: TrainConfig) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        yield


@torch.no_grad()
def _validate(state: _Run, model: CustomTextCLIP) -> tuple[float | None, float | None]:
    """Mean statement AUROC and the fitted scale on the validation rows; (None, None) without statements."""
    if not state.statements:
        return None, None
    model.eval()
    wanted = np.unique(np.concatenate([s.images for s in state.statements]))
    asked = np.unique([[s.positive, s.negative] for s in state.statements])
    with _autocast(state.config):
        parts = [model.visual(state.images(wanted[i : i + 128])).float() for i in range(0, len(wanted), 128)]
        text_embeds = functional.normalize(model.text(state.tokens(asked)).float(), dim=-1)
    cosines = (functional.normalize(torch.cat(parts), dim=-1) @ text_embeds.T).numpy()
    differences = []
    for statement in state.statements:
        rows = cosines[np.searchsorted(wanted, statement.images)]
        positive, negative = np.searchsorted(asked, [statement.positive, statement.negative])
        differences.append(rows[:, positive] - rows[:, negative])
    return mean_auroc(state.statements, differences), fit_scale(state.statements, differences)


def _write_checkpoint(
    state: _Run, model: CustomTextCLIP, arch: dict[str, Any], epoch: int, scale: float | None, validation: float | None
) -> None:
    """Averaged weights and what the export needs to know; replaced in one step, so that it is always whole."""
    config = state.config
    recipe = {
        name: getattr(config, name)
        for name in (
            "arch",
            "epochs",
            "batch_size",
            "lr",
            "weight_decay",
            "warmup",
            "grad_clip",
            "ema_decay",
            "texts_per_image",
            "precision",
        )
    }
    content = {
        "arch": arch,
        "model": model.state_dict(),
        "mean": state.mean,
        "std": state.std,
        "scale": scale,
        "labels": default_labels(state.pairs),
        "provenance": {
            "command": config.command,
            "seed": config.seed,
            "data_fingerprint": state.store.fingerprint,
            "recipe": recipe
            | {
                "image_size": arch["vision_cfg"]["image_size"],
                "epochs_done": epoch,
                "training_images": int((~state.pairs.validation).sum()),
                "texts": len(state.pairs.texts),
            },
            "held_out_statement_auroc": validation,
        },
    }
    part = config.out / f"{CHECKPOINT}.part"
    torch.save(content, part)
    os.replace(part, config.out / CHECKPOINT)


def _log(out: Path, record: dict[str, Any]) -> None:
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
