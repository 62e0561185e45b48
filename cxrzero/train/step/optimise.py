"""The optimiser of a run, its learning rate over the steps, and the average of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from cxrzero.train.model.weights import weight_groups
from cxrzero.train.options import TrainOptions

BETAS = (0.9, 0.98)  # CLIP's for vision transformers (Radford et al. 2021, table 20)


def make_optimiser(model: nn.Module, options: TrainOptions) -> Optimizer:
    """AdamW or SGD over what is not frozen; the learning rate comes from `set_rate` before each step.

    Fused: one pass over the memory of each weight, several times faster on a CPU too.
    """
    groups = weight_groups(
        model, options.weight_decay, options.image_lr_scale, options.text_lr_scale, options.layer_decay
    )
    if options.optimiser == "sgd":
        return SGD(groups, lr=0.0, momentum=options.momentum, fused=True)
    return AdamW(groups, lr=0.0, betas=BETAS, fused=True)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """`rate` times each group's own factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_scale"]


def clip_gradients(model: nn.Module, largest: float) -> float:
    """The norm of all gradients; they are scaled to `largest` only where it is more, which saves a pass over memory."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if float(norm) > largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return float(norm)


def rate_at(step: int, steps: int, peak: float, options: TrainOptions) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine to zero; or the peak throughout."""
    return peak if options.schedule == "constant" else cosine_rate(step, steps, peak, options.warmup)


def cosine_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear rise over the share `warmup` of the steps, then half a cosine to zero."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """Exponential moving average of the weights; None where decay is 0."""
    if decay == 0:
        return None
    return AveragedModel(model, multi_avg_fn=_moving_average(decay), use_buffers=True)


def _moving_average(decay: float) -> Any:
    """Average whose memory grows with the run: min(decay, (1 + n) / (10 + n)), n = steps averaged."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        rate = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, rate)
            else:
                old.copy_(new)

    return update
