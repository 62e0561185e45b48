"""A residual network in torchvision's layout of names, every size of it read from the shapes of its tensors.

    conv1, bn1, relu, max pool ─► layer1 ─► layer2 … ─► (N, C, h, w)

A trunk that was cut after layer3 is one of three stages; pooling and head belong to whoever builds it.
(K. He et al., CVPR 2016. The 3×3 convolution of a stage's first block has the stride, as torchvision places it.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from cxrzero.convert.published.layout import fill
from cxrzero.errors import ImportModelError

BLOCK = re.compile(r"(layer\d+)\.(\d+)\.")


class ResNet(nn.Module):
    """(N, 3, H, W) float32 → (N, channels, H / s, W / s), the features of the last stage; s is 32 with four of them."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        width = weights["conv1.weight"].shape[0]
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.stages = sorted({"layer1"} | {found[1] for name in weights if (found := BLOCK.match(name))})
        for stage in self.stages:
            self.add_module(stage, _stage(weights, stage, stride=1 if stage == "layer1" else 2))
        self.architecture = "ResNet " + "-".join(str(len(self.get_submodule(stage))) for stage in self.stages)
        last = f"{self.stages[-1]}.0.conv"
        self.channels = weights[f"{last}3.weight" if f"{last}3.weight" in weights else f"{last}2.weight"].shape[0]

    def forward(self, pixel_values: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(pixel_values))))
        for stage in self.stages:
            features = self.get_submodule(stage)(features)
        return torch.as_tensor(features)

    def places(self, pixel_values: Tensor) -> Tensor:
        """The same as (N, H / s, W / s, channels)."""
        return self(pixel_values).permute(0, 2, 3, 1)


def build_resnet(weights: Mapping[str, Tensor], what: str) -> ResNet:
    """A trunk with its weights, in evaluation mode.

    Args:
        weights: by torchvision's names, and nothing else; its head `fc` may be there and is left out.
        what: the model, for messages.

    Raises:
        ImportModelError: a tensor is missing, or there is one that does not belong to it.
    """
    try:
        model = ResNet(weights)
    except KeyError as error:
        raise ImportModelError(f"{what} has no {error.args[0]}: it is not the ResNet it should be") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise ImportModelError(f"{what} is not the ResNet it should be ({error})") from None
    # Counters of training, which old files do not have; they decide nothing here.
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    own = counters | {name: value for name, value in weights.items() if not name.startswith("fc.")}
    return fill(model, own, what)


def _stage(weights: Mapping[str, Tensor], stage: str, stride: int) -> nn.Sequential:
    """Blocks one after the other; the first of them shrinks, and changes the width where a `downsample` does."""
    found = [BLOCK.match(name) for name in weights]
    count = len({each[2] for each in found if each and each[1] == stage})
    return nn.Sequential(*(_block(weights, f"{stage}.{n}", 1 if n else stride) for n in range(max(1, count))))


def _block(weights: Mapping[str, Tensor], name: str, stride: int) -> nn.Module:
    inner, into = weights[f"{name}.conv1.weight"].shape[:2]
    is_bottleneck = f"{name}.conv3.weight" in weights
    out = weights[f"{name}.conv3.weight" if is_bottleneck else f"{name}.conv2.weight"].shape[0]
    shortcut = None
    if f"{name}.downsample.0.weight" in weights:
        shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    if not is_bottleneck:
        return BasicBlock(into, out, stride, shortcut)
    planes = out // Bottleneck.expansion
    # torchvision's unit of the inner width: 64 is as wide as `planes`.
    return Bottleneck(into, planes, stride, shortcut, base_width=64 * inner // planes)
