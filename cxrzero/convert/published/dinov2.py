"""DINOv2 as an image tower: a ViT with layer scale, its sizes read from the tensors.

Source: https://github.com/facebookresearch/dinov2 at b8931f7 (dinov2/models/vision_transformer.py, layers/, hub/).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.convert.last_block import of_timm
from cxrzero.convert.recognise import HEAD_WIDTH, check_keys
from cxrzero.convert.towers import Towers
from cxrzero.errors import ImportModelError

EPSILON = 1e-6  # of its layer norms
# Added to the number of places before the places are interpolated, see `interpolate_pos_encoding` there.
OFFSET = 0.1
MASK_TOKEN = "mask_token"  # stands for hidden patches while DINOv2 is trained, and for nothing afterwards


class Dinov2(nn.Module):
    """(N, 3, S, S) → tokens (N, 1 + registers + h · w, D) after the last norm: class, registers, patches by rows."""

    def __init__(
        self, width: int, depth: int, hidden: int, patch: int, grid: int, registers: int, has_scale: bool
    ) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=EPSILON)
        self.patch, self.grid, self.registers = patch, grid, registers
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                max(1, width // HEAD_WIDTH),
                mlp_ratio=hidden / width,
                qkv_bias=True,
                init_values=1.0 if has_scale else None,
                norm_layer=norm,
            )
            for _ in range(depth)
        )
        self.norm = norm(width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = self.embed(pixel_values)
        for block in self.blocks:
            tokens = block(tokens)
        return torch.as_tensor(self.norm(tokens))

    def embed(self, pixel_values: Tensor) -> Tensor:
        """What enters the first block."""
        patches = self.patch_embed["proj"](pixel_values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.pos_embed
        if not self.registers:
            return tokens
        registers = self.register_tokens.expand(patches.shape[0], -1, -1)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)


def build_dinov2(weights: Mapping[str, Tensor], what: str, size: int | None = None) -> Dinov2:
    """A DINOv2 for pictures of one size, in evaluation mode.

    Args:
        weights: its tensors alone, named as in the authors' DinoVisionTransformer.
        what: whose they are, for messages.
        size: of the pictures in pixels; None: that of which there is a place for each patch.

    Raises:
        ImportModelError: these are not DINOv2's tensors, or the size is no multiple of a patch.
    """
    own = {name: value for name, value in weights.items() if name != MASK_TOKEN}
    try:
        kernel, places = own["patch_embed.proj.weight"], own["pos_embed"]
        hidden = own["blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ImportModelError(f"the image tower of {what} is missing, or not DINOv2: no {error.args[0]}") from None
    patch, side = int(kernel.shape[-1]), round((places.shape[1] - 1) ** 0.5)
    size = size or side * patch
    if size % patch:
        raise ImportModelError(f"the image tower of {what}: {size} pixels are no multiple of its patches of {patch}")
    grid = size // patch
    model = Dinov2(
        width=int(kernel.shape[0]),
        depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
        hidden=int(hidden),
        patch=patch,
        grid=grid,
        registers=int(own["register_tokens"].shape[1]) if "register_tokens" in own else 0,
        has_scale="blocks.0.ls1.gamma" in own,
    ).eval()
    if side * side + 1 == places.shape[1]:
        own["pos_embed"] = interpolated(places, grid, has_registers="register_tokens" in own)
    check_keys(model, own, f"the image tower of {what}")
    model.load_state_dict(own)
    return model


def interpolated(places: Tensor, grid: int, *, has_registers: bool) -> Tensor:
    """(1, 1 + s · s, D) → (1, 1 + grid · grid, D), as DINOv2 does for pictures of another size than it learned from.

    Those with registers are antialiased (hub/backbones.py). Of those without, the scale factors are not the quotients
    of the sizes, which moves every sampled place a little.
    """
    side = round((places.shape[1] - 1) ** 0.5)
    if side == grid:
        return places
    table = places[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if has_registers:
        table = functional.interpolate(table, size=(grid, grid), mode="bicubic", antialias=True)
    else:
        factor = (grid + OFFSET) / side
        table = functional.interpolate(table, scale_factor=(factor, factor), mode="bicubic", antialias=False)
    return torch.cat([places[:, :1].float(), table.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def class_token_towers(vision: Dinov2, projection: nn.Module, text: nn.Module) -> Towers:
    """Towers of a model that projects DINOv2's class token, with patches through the same projection."""
    return Towers(_Patches(vision, projection), _ClassToken(vision, projection), text, has_patches=True)


class _ClassToken(nn.Module):
    def __init__(self, vision: Dinov2, projection: nn.Module) -> None:
        super().__init__()
        self.vision, self.projection = vision, projection

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.vision(pixel_values)[:, 0]), dim=-1)


class _Patches(nn.Module):
    """The same, and each patch as if it were the class token (MaskCLIP's reading, ECCV 2022)."""

    def __init__(self, vision: Dinov2, projection: nn.Module) -> None:
        super().__init__()
        self.vision, self.projection = vision, projection
        self.last_block = of_timm(vision.blocks[-1])

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.vision.embed(pixel_values)
        for block in self.vision.blocks[:-1]:
            tokens = block(tokens)
        first, all_tokens = self.last_block(tokens)
        patches = self._embeds(all_tokens[:, 1 + self.vision.registers :])
        grid = self.vision.grid
        return self._embeds(first)[:, 0], patches.reshape(patches.shape[0], grid, grid, -1)

    def _embeds(self, tokens: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.vision.norm(tokens)), dim=-1)
