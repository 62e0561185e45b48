"""The weights of a model by tower: which of them learn, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from open_clip.timm_model import TimmModel

from cxrzero.choices import TowerName
from cxrzero.errors import UsageError
from cxrzero.train.model.erase import Floats
from cxrzero.train.model.layers import blocks_above


def tower_of(parameter: str) -> str:
    """ "image", "text" or "scale": the part of a CLIP model that a parameter of this name belongs to."""
    if parameter.startswith("visual."):
        return "image"
    return "scale" if parameter.startswith("logit_") else "text"


def freeze_tower(model: torch.nn.Module, tower: TowerName) -> None:
    """Keep one tower's weights: its parameters get no gradient."""
    for name, parameter in model.named_parameters():
        if tower_of(name) == tower:
            parameter.requires_grad_(False)


def train_mode(model: torch.nn.Module, frozen: TowerName | None) -> None:
    """A frozen tower stays in evaluation mode, so that its running statistics stay too."""
    model.train()
    if frozen is not None:
        getattr(model, {"image": "visual", "text": "text"}[frozen]).eval()


def linear_projection(model: torch.nn.Module) -> torch.nn.Linear:
    """The layer from the trunk's pooled features to the image's embedding, a linear one with a bias.

    Raises:
        UsageError: the image tower has none.
    """
    head = [layer for layer in getattr(model.visual, "head", ()) if not isinstance(layer, torch.nn.Dropout)]
    linear = isinstance(model.visual, TimmModel) and [type(layer) for layer in head] == [torch.nn.Linear]
    if not linear or head[0].bias is None:
        raise UsageError(
            "--alike and --refit change a linear projection with a bias, which this image tower does not have: its "
            "architecture needs a timm trunk with timm_proj: linear and timm_proj_bias: true"
        )
    projection: torch.nn.Linear = head[0]
    return projection


@dataclass(frozen=True)
class Projection:
    """The numbers of `linear_projection`: weight (D, F) and bias (D,), float64."""

    weight: Floats
    bias: Floats

    @classmethod
    def of(cls, model: torch.nn.Module) -> Projection:
        layer = linear_projection(model)
        return cls(*(each.detach().cpu().double().numpy() for each in (layer.weight, layer.bias)))

    def __call__(self, features: Floats) -> Floats:
        """(N, F) → (N, D), of length 1."""
        embeds = features @ self.weight.T + self.bias
        return np.asarray(embeds / np.linalg.norm(embeds, axis=1, keepdims=True).clip(1e-12))

    @torch.no_grad()
    def put_into(self, model: torch.nn.Module) -> None:
        layer = linear_projection(model)
        layer.weight.copy_(torch.from_numpy(self.weight))
        layer.bias.copy_(torch.from_numpy(self.bias))


def weight_groups(
    model: torch.nn.Module,
    weight_decay: float,
    image_lr_scale: float = 1.0,
    text_lr_scale: float = 1.0,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Parameters for an optimiser, by tower; decay on matrices and kernels, none on biases, norms and embeddings.

    Each group has a `lr_scale`, the factor on the schedule's learning rate. A factor of 0 leaves the tower out.

    Args:
        layer_decay: factor from a block of the image tower to the one below (BEiT: Bao et al. 2022); at 1 all blocks
            learn at one rate.

    Raises:
        UsageError: `layer_decay` is given, and the tower's blocks cannot be told apart.
    """
    scales = {"image": image_lr_scale, "text": text_lr_scale, "scale": 1.0}
    blocks = {} if layer_decay == 1 else blocks_above(model.visual)
    groups: dict[tuple[str, bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        tower = tower_of(name)
        if not parameter.requires_grad or not scales[tower]:
            continue
        decays = parameter.ndim >= 2 and "embedding" not in name
        above = blocks.get(name.removeprefix("visual."), 0) if tower == "image" else 0
        group = {
            "params": [],
            "weight_decay": weight_decay if decays else 0.0,
            "lr_scale": scales[tower] * layer_decay**above,
        }
        groups.setdefault((tower, decays, above), group)["params"].append(parameter)
    return list(groups.values())
