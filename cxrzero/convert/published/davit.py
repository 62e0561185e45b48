"""A DaViT (Ding et al., ECCV 2022) in the layout of MedImageInsight's image tower, its sizes read from the shapes.

Four stages, each a convolution that makes the map smaller and then pairs of blocks: one whose tokens look at their
window, one whose channels look at each other. Every block has a depthwise convolution before its attention and before
its MLP, which tells places apart; there are no embeddings of places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.convert.published.layout import fill
from cxrzero.errors import ImportModelError

HEAD_WIDTH = 32  # of heads and of groups of channels (config.yaml: DIM_EMBED / NUM_HEADS, DIM_EMBED / NUM_GROUPS)
WINDOW = 12  # tokens, a side (config.yaml: WINDOW_SIZE)
MLP_RATIO = 4
FIRST_STRIDE, STRIDE = 4, 2  # config.yaml: PATCH_STRIDE

# Published name → ours, in this order. The second names of a pair are those of the trunk before it was published with
# texts, which the authors' loader takes, too (davit_v1.py: _try_remap_keys).
NAMES = (
    (r"^(?:convs|conv_embeds)\.(\d+)\.", r"stages.\1.down."),
    (r"^(?:blocks|main_blocks)\.(\d+)\.(\d+)\.(?:spatial_block|0)\.", r"stages.\1.pairs.\2.places."),
    (r"^(?:blocks|main_blocks)\.(\d+)\.(\d+)\.(?:channel_block|1)\.", r"stages.\1.pairs.\2.channels."),
    (r"\.(?:conv1\.fn\.dw|cpe\.0\.proj)\.", ".before_attention."),
    (r"\.(?:conv2\.fn\.dw|cpe\.1\.proj)\.", ".before_mlp."),
    (r"\.(?:(?:window|channel)_attn\.norm|norm1)\.", ".norm1."),
    (r"\.(?:(?:window|channel)_attn\.fn|attn)\.", ".attention."),
    (r"\.(?:ffn\.norm|norm2)\.", ".norm2."),
    (r"\.(?:ffn\.fn\.net|mlp)\.", ".mlp."),
    (r"^norms\.", "norm."),
)


class Davit(nn.Module):
    """(N, 3, H, W) float32 → (N, D): the mean of the last stage's tokens, after its norm.

    Args:
        widths: of each stage.
        depths: pairs of blocks of each stage.
        kernels: sides of the stages' convolutions.
    """

    def __init__(self, widths: list[int], depths: list[int], kernels: list[int]) -> None:
        super().__init__()
        before = [3, *widths]
        self.stages = nn.ModuleList(
            _Stage(before[at], widths[at], depths[at], kernels[at], is_first=at == 0) for at in range(len(widths))
        )
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = pixel_values.permute(0, 2, 3, 1)
        for stage in self.stages:
            tokens = stage(tokens)
        return torch.as_tensor(self.norm(tokens.mean(dim=(1, 2))))


class _Stage(nn.Module):
    def __init__(self, before: int, width: int, depth: int, kernel: int, *, is_first: bool) -> None:
        super().__init__()
        self.down = _Down(before, width, kernel, is_first)
        self.pairs = nn.ModuleList(
            nn.ModuleDict({"places": _Block(width, _Windows(width)), "channels": _Block(width, _Channels(width))})
            for _ in range(depth)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.down(tokens)
        for pair in self.pairs:
            tokens = pair["channels"](pair["places"](tokens))
        return tokens


class _Down(nn.Module):
    """(N, H, W, C) → a smaller map; the first has its norm behind the convolution, the others before it."""

    def __init__(self, before: int, width: int, kernel: int, is_first: bool) -> None:
        super().__init__()
        stride = FIRST_STRIDE if is_first else STRIDE
        self.proj = nn.Conv2d(before, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width if is_first else before)
        self.is_first = is_first

    def forward(self, tokens: Tensor) -> Tensor:
        if self.is_first:
            return torch.as_tensor(self.norm(_on_map(self.proj, tokens)))
        return _on_map(self.proj, self.norm(tokens))


class _Block(nn.Module):
    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.before_attention = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.attention = nn.LayerNorm(width), attention
        self.before_mlp = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, MLP_RATIO * width), "fc2": nn.Linear(MLP_RATIO * width, width)}
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + _on_map(self.before_attention, tokens)
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + _on_map(self.before_mlp, tokens)
        hidden = functional.gelu(self.mlp["fc1"](self.norm2(tokens)))
        return tokens + torch.as_tensor(self.mlp["fc2"](hidden))


class _Windows(nn.Module):
    """Tokens look at those of their window. A map that windows do not divide is filled up with zeros, right and below,
    and the tokens there are looked at like any other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        height, width, channels = tokens.shape[1:]
        more = [-side % WINDOW for side in (height, width)]
        tokens = functional.pad(tokens, (0, 0, 0, more[1], 0, more[0]))
        down, across = (height + more[0]) // WINDOW, (width + more[1]) // WINDOW
        windows = tokens.reshape(-1, down, WINDOW, across, WINDOW, channels).transpose(2, 3)
        heads = self.qkv(windows.reshape(-1, WINDOW**2, channels))
        heads = heads.reshape(-1, WINDOW**2, 3, channels // HEAD_WIDTH, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]
        weights = (query * HEAD_WIDTH**-0.5 @ key.transpose(-2, -1)).softmax(dim=-1)
        windows = self.proj((weights @ value).transpose(1, 2).reshape(-1, WINDOW**2, channels))
        windows = windows.reshape(-1, down, across, WINDOW, WINDOW, channels).transpose(2, 3)
        return windows.reshape(-1, down * WINDOW, across * WINDOW, channels)[:, :height, :width]


class _Channels(nn.Module):
    """Channels look at those of their group, by what they are in all places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        height, width, channels = tokens.shape[1:]
        places = height * width
        groups = self.qkv(tokens).reshape(-1, places, 3, channels // HEAD_WIDTH, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        query, key, value = groups[0], groups[1], groups[2]
        weights = ((query * places**-0.5).transpose(-1, -2) @ key).softmax(dim=-1)
        mixed = (weights @ value.transpose(-1, -2)).permute(0, 3, 1, 2)
        return torch.as_tensor(self.proj(mixed.reshape(-1, height, width, channels)))


def build_davit(weights: Mapping[str, Tensor], what: str) -> Davit:
    """A trunk with its weights, in evaluation mode.

    Args:
        weights: by the published names, and nothing else.
        what: the model, for messages.

    Raises:
        ImportModelError: a tensor is missing, or there is one that does not belong to it.
    """
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    pairs = [match for name in renamed if (match := re.match(r"stages\.(\d+)\.pairs\.(\d+)\.", name))]
    stages = range(max((int(pair[1]) for pair in pairs), default=-1) + 1)
    depths = [len({pair[2] for pair in pairs if int(pair[1]) == stage}) for stage in stages]
    stems = [renamed.get(f"stages.{stage}.down.proj.weight") for stage in stages]
    shapes = [stem.shape for stem in stems if stem is not None and stem.ndim == 4]
    if not stages or len(shapes) < len(stages) or any(shape[0] % HEAD_WIDTH for shape in shapes):
        raise ImportModelError(f"{what} is not the DaViT it should be: a stage has no convolution, or another width")
    return fill(Davit([shape[0] for shape in shapes], depths, [shape[-1] for shape in shapes]), renamed, what)


def _on_map(layer: nn.Module, tokens: Tensor) -> Tensor:
    """A convolution of tokens that stand where they belong: (N, H, W, C) → (N, H', W', C')."""
    return torch.as_tensor(layer(tokens.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
