"""A film as places: a residual network, then two layers that every place goes through alone (KAD, MAVL, MedKLIP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxrzero.convert.published.layout import part
from cxrzero.convert.published.resnet import ResNet, build_resnet
from cxrzero.convert.weights import StateDict

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # ImageNet's, in the `normalize` of all three
# `nn.Sequential(*list(resnet.children())[:-3])` (or [:-2]) numbers what torchvision names.
CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


class Places(nn.Module):
    """(N, 3, H, W) → image_tokens (N, h · w, D), row by row.

    Args:
        trunk: (N, 3, H, W) → (N, C, h, w).
        between: what stands between the two layers.
        norm: what the decoder does to a place before it looks.
    """

    def __init__(self, trunk: nn.Module, first: nn.Linear, between: nn.Module, second: nn.Linear, norm: nn.Module):
        super().__init__()
        self.trunk, self.first, self.between, self.second, self.norm = trunk, first, between, second, norm

    def forward(self, pixel_values: Tensor) -> Tensor:
        places = self.trunk(pixel_values).flatten(2).transpose(1, 2)
        return torch.as_tensor(self.norm(self.second(self.between(self.first(places)))))


def trunk_of(weights: Mapping[str, Tensor], prefix: str, what: str) -> ResNet:
    """The residual network whose numbered children stand below `prefix`."""
    named: StateDict = {}
    for name, value in part(weights, prefix).items():
        child, _, rest = name.partition(".")
        named[f"{CHILDREN.get(child, child)}.{rest}"] = value
    return build_resnet(named, what)


def steps(size: int, interpolation: str) -> list[dict[str, Any]]:
    """Preprocessing of all three: stretched to a square, `ToTensor`, `Normalize`."""
    return [
        {"step": "resize", "height": size, "width": size, "interpolation": interpolation},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": MEAN, "std": STD},
    ]
