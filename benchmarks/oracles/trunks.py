"""What the oracles of KAD, MAVL and MedKLIP have in common: residual networks, BERTs, libraries, lists of films.

`settle` is for BioViL's, too, and `with_small_branches` for RadZero's.
"""

from __future__ import annotations

import csv
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers
from torch import nn

from tests.support.checkpoints import random_state

BRANCH = 0.1  # of a residual branch's random weight, at full size


class Empty(types.ModuleType):
    """A library that is imported and not used by inference."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *given: None})


def empty(*names: str) -> None:
    for name in names:
        sys.modules[name] = Empty(name)


def take_resnets(tiny: bool) -> None:
    """torchvision's `resnet50(pretrained=True)` without its weights, and with few and narrow layers if `tiny`."""
    full = torchvision.models.resnet50
    torchvision.models.resnet50 = lambda pretrained=False: tiny_resnet() if tiny else full(weights=None)
    torchvision.models.resnet18 = lambda pretrained=False: None


def tiny_resnet() -> nn.Module:
    """torchvision's ResNet of one or two Bottlenecks a stage, the last stage twice as wide as the one before."""
    kind = torchvision.models.resnet
    net = kind.ResNet.__new__(kind.ResNet)
    nn.Module.__init__(net)
    net.inplanes, net._norm_layer, net.dilation, net.groups, net.base_width = 8, nn.BatchNorm2d, 1, 1, 64
    net.conv1, net.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
    net.relu, net.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    for number, (planes, blocks) in enumerate(((4, 1), (4, 2), (8, 1), (16, 1)), 1):
        setattr(net, f"layer{number}", net._make_layer(kind.Bottleneck, planes, blocks, stride=1 if number == 1 else 2))
    net.avgpool, net.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)
    return net


def random_bert(words: int, width: int, layers: int, inner: int, places: int = 512) -> transformers.BertModel:
    """BERT with random weights; its hidden states are given, too, as KAD asks for them."""
    config = transformers.BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=inner,
        max_position_embeddings=places,
        output_hidden_states=True,
    )
    return drawn(transformers.BertModel(config))


def drawn(module: Any) -> Any:
    """The same module with random weights, in evaluation mode; what goes by two names is drawn by the first."""
    state, names = random_state(module.state_dict()), {}
    for name, value in module.state_dict().items():
        state[name] = state[names.setdefault(value.data_ptr(), name)]
    module.load_state_dict(state)
    return module.eval()


@torch.no_grad()
def settle(network: nn.Module, pixels: torch.Tensor) -> None:
    """Make of 50 random layers what training makes of them: branches that add little, norms that know their inputs.

    Without, films look alike at the end, or float32 itself is 0.1% of what tells them apart: with whole branches
    BioViL's network in float32 is that far from the same in float64, with these 0.003%. Where places go unnormed into
    attention (MedKLIP, MAVL) they are 300 to 400 in size, every head looks at one place alone, and a change of 0.00002
    in the texts swings it: in float32 the authors' scores are 0.4% and 2% of their deviation from those in float64.

    Args:
        network: a residual network, or one around it, in evaluation mode as it will be afterwards.
    """
    for name, weight in network.named_parameters():
        if name.endswith("bn3.weight"):
            weight.mul_(BRANCH)
    for norm in [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]:
        norm.momentum = 1.0
    network.train()
    network(pixels)
    network.eval()


def with_small_branches(state: dict[str, Any]) -> dict[str, Any]:
    """A random DINOv2 whose layers add little to what they are given, as `settle` has it of residual networks.

    With whole branches RadZero's 14 layers in float32 are 0.03% from the same in float64, and its authors' own scores
    0.15% of their deviation; with these 0.001% and 0.015%.
    """
    return {name: value * BRANCH if name.endswith("lambda1") else value for name, value in state.items()}


def list_films(films: Path, table: Path, columns: int) -> int:
    """A table as the authors' data sets read it, one film a row, every label 0; returns the number of films."""
    paths = sorted(films.iterdir())
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *(f"label{number}" for number in range(columns))])
        writer.writerows([str(path.resolve()), *[0] * columns] for path in paths)
    return len(paths)


def pixels_of(dataset: Any, count: int) -> torch.Tensor:
    return torch.stack([dataset[index]["image"] for index in range(count)])


def cropped(films: Path, size: int, interpolation: Any) -> torch.Tensor:
    """A planted fault: the shorter side fitted and the middle cut out, where the authors stretch."""
    from PIL import Image
    from torchvision import transforms

    steps = transforms.Compose(
        [
            transforms.Resize(size, interpolation=interpolation),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return torch.stack([steps(Image.open(path).convert("RGB")) for path in sorted(films.iterdir())])
