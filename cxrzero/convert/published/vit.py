"""A vision transformer in the names of pytorch_pretrained_vit 0.0.7, as timm's: KAD's third picture tower.

    patch_embedding, class_token, positional_embedding ─► transformer.blocks.0 … ─► (N, T, D), the class token left out

Its last norm stands outside what KAD takes of it (A3_CLIP/models/vit.py: ModelViT.forward), so there is none here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cxrzero.convert.published.layout import fill, part
from cxrzero.convert.recognise import HEAD_WIDTH
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

PLACES = "positional_embedding.pos_embedding"
RENAMED = {"proj.": "attn.proj.", "pwff.": "mlp.", "norm1.": "norm1.", "norm2.": "norm2."}
PROJECTIONS = ("attn.proj_q.", "attn.proj_k.", "attn.proj_v.")  # timm has them in one


class PlaceTokens(nn.Module):
    """(N, 3, H, W) → the last block's tokens of the places (N, h · w, D).

    Attributes:
        grid: (h, w).
    """

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit
        self.grid: tuple[int, int] = vit.patch_embed.grid_size

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.as_tensor(self.vit.forward_features(pixel_values)[:, 1:])


def picture_size(weights: Mapping[str, Tensor]) -> int:
    """Pixels of a side, from the places that have an embedding."""
    stem, places = weights.get("patch_embedding.weight"), weights.get(PLACES)
    if stem is None or places is None or math.isqrt(places.shape[1] - 1) ** 2 != places.shape[1] - 1:
        raise ImportModelError(f"these weights have no square of places ({PLACES})")
    return math.isqrt(places.shape[1] - 1) * int(stem.shape[-1])


def build_vit(weights: Mapping[str, Tensor], what: str) -> PlaceTokens:
    """A ViT in evaluation mode, its sizes read from the shapes.

    Raises:
        ImportModelError: these are not its tensors; names which.
    """
    size, stem = picture_size(weights), weights["patch_embedding.weight"]
    hidden = weights.get("transformer.blocks.0.pwff.fc1.weight", stem).shape[0]
    width = stem.shape[0]
    vit = VisionTransformer(
        img_size=size,
        patch_size=stem.shape[-1],
        embed_dim=width,
        depth=len({name.split(".")[2] for name in weights if name.startswith("transformer.blocks.")}),
        num_heads=max(1, width // HEAD_WIDTH),
        mlp_ratio=hidden / width,
        num_classes=0,
        global_pool="",
        final_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    return PlaceTokens(fill(vit, _named(weights), what))


def _named(weights: Mapping[str, Tensor]) -> StateDict:
    """By timm's names. A name that is none of this layout's stays, for `check_keys` to name it."""
    named = {f"patch_embed.proj.{name}": value for name, value in part(weights, "patch_embedding.").items()}
    named["pos_embed"] = weights[PLACES]
    if "class_token" in weights:
        named["cls_token"] = weights["class_token"]
    for name, value in part(weights, "transformer.").items():
        _, number, rest = name.split(".", 2)
        new = next((to + rest.removeprefix(old) for old, to in RENAMED.items() if rest.startswith(old)), rest)
        named[f"blocks.{number}.{new}"] = value
    for name in [name for name in named if PROJECTIONS[0] in name]:
        three = [named.pop(name.replace(PROJECTIONS[0], projection), None) for projection in PROJECTIONS]
        found = [each for each in three if each is not None]
        named[name.replace(PROJECTIONS[0], "attn.qkv.")] = torch.cat(found)
    return named
