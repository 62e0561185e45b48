"""A Swin Transformer in the layout of transformers' SwinModel (before its version 5), its sizes read from the shapes.

The network is timm's, of which the published names are translated: timm keeps query, key and value in one matrix, and a
stage's merging of patches before its blocks instead of after those of the stage before. (Liu et al., ICCV 2021.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from cxrzero.convert.published.layout import fill
from cxrzero.errors import ImportModelError

# Published name → timm's, in this order.
NAMES = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.", ""),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
# Computed from the size of a window, and written by transformers before 4.31.
NOT_WEIGHTS = ".relative_position_index"
QUERY = re.compile(r"(.*\.attn\.)query(\.\w+)")
MERGING = re.compile(r"layers\.(\d+)\.(downsample\..*)")


class Swin(nn.Module):
    """(N, 3, size, size) float32 → (N, h, w, channels), places of the last stage after its norm."""

    def __init__(self, trunk: SwinTransformer) -> None:
        super().__init__()
        self.trunk, self.channels = trunk, int(trunk.num_features)
        depths = "-".join(str(len(stage.blocks)) for stage in trunk.layers)
        self.architecture = f"Swin Transformer {depths} of {trunk.embed_dim}"

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.places(pixel_values)

    def places(self, pixel_values: Tensor) -> Tensor:
        return torch.as_tensor(self.trunk.forward_features(pixel_values))


def build_swin(weights: Mapping[str, Tensor], size: int, what: str) -> Swin:
    """A trunk with its weights, in evaluation mode.

    Args:
        weights: by the published names, and nothing else.
        size: height and width of a picture in pixels, which the shapes do not tell.
        what: the model, for messages.

    Raises:
        ImportModelError: a tensor is missing, or there is one that does not belong to it.
    """
    try:
        renamed = _renamed({name: value for name, value in weights.items() if not name.endswith(NOT_WEIGHTS)})
        trunk = SwinTransformer(img_size=size, num_classes=0, global_pool="", **_sizes(renamed))
    except (KeyError, IndexError, ZeroDivisionError, AssertionError, ValueError, RuntimeError) as error:
        raise ImportModelError(f"{what} is not the Swin Transformer it should be ({error})") from None
    return Swin(fill(trunk, renamed, what)).eval()


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        if merging := MERGING.fullmatch(name):
            name = f"layers.{int(merging[1]) + 1}.{merging[2]}"
        renamed[name] = value
    for name in [name for name in renamed if QUERY.fullmatch(name)]:
        parts = [renamed.pop(name.replace(".query.", f".{each}."), None) for each in ("query", "key", "value")]
        renamed[QUERY.sub(r"\1qkv\2", name)] = torch.cat([each for each in parts if each is not None])
    return renamed


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, object]:
    """timm's arguments."""
    table = ".attn.relative_position_bias_table"
    blocks = [name.removesuffix(table) for name in weights if name.endswith(table)]
    stages = [[name for name in blocks if name.startswith(f"layers.{number}.")] for number in range(len(blocks))]
    stages = [stage for stage in stages if stage]
    patch = weights["patch_embed.proj.weight"].shape
    first = stages[0][0]
    return {
        "patch_size": int(patch[-1]),
        "embed_dim": int(patch[0]),
        "depths": tuple(len(stage) for stage in stages),
        "num_heads": tuple(int(weights[stage[0] + table].shape[1]) for stage in stages),
        # A table has a row for each of (2 · window − 1)² differences of places.
        "window_size": (round(weights[first + table].shape[0] ** 0.5) + 1) // 2,
        "mlp_ratio": weights[f"{first}.mlp.fc1.weight"].shape[0] / patch[0],
    }
