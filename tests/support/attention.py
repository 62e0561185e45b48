"""A small model that scores by attention, in torch: what an import of one is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.towers import AttentionTowers
from tests.support.bundle import CONTEXT, SIDE, byte_tokenizer

PATCH, WIDTH, WORDS = 4, 8, 257
GRID = SIDE // PATCH


class Image(nn.Module):
    """Patches, and before them their mean, each a token: (N, 1 + GRID², WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


class Text(nn.Module):
    """Two tokens, the first word and the mean of all: (L, 2, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)

    def forward(self, input_ids: Tensor) -> Tensor:
        mask = (input_ids != 0).to(torch.float32)[..., None]
        words = self.words(input_ids)
        return torch.stack([words[:, 0], (words * mask).sum(dim=1) / mask.sum(dim=1)], dim=1)


class Scorer(nn.Module):
    """Attention of each sentence over a film's patches; if `together`, sentences first look at each other."""

    def __init__(self, together: bool, has_attention: bool) -> None:
        super().__init__()
        self.together, self.has_attention = together, has_attention
        self.key, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, image_tokens: Tensor, text_tokens: Tensor) -> Any:
        asked = text_tokens.mean(dim=1)
        if self.together:
            asked = asked + torch.softmax(asked @ asked.transpose(0, 1), dim=-1) @ asked
        keys = self.key(image_tokens)
        weights = torch.softmax(torch.matmul(keys, asked.transpose(0, 1)).transpose(1, 2), dim=-1)
        seen = torch.matmul(weights, image_tokens)
        logits = self.out(torch.tanh(seen + asked[None]))[..., 0]
        if not self.has_attention:
            return logits
        return logits, weights[:, :, 1:].unflatten(2, (GRID, GRID))


def towers(together: bool = False, has_attention: bool = True, seed: int = 0) -> AttentionTowers:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AttentionTowers(Image(), Text(), Scorer(together, has_attention), has_attention)


def loaded(made: AttentionTowers, **scoring: Any) -> LoadedModel:
    """The towers as a source that was recognised; other keywords replace keys of its scoring."""
    return LoadedModel(
        model=None,
        towers=made,
        architecture="tiny attention",
        embed_dim=None,
        image_size=(SIDE, SIDE),
        preprocess=[
            {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
            {"step": "rescale", "factor": 1 / 255},
            {"step": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        ],
        scoring={"rule": "scorer", "scale": 2.0, "bias": 0.5, "pairs": False, "labels": "independent"} | scoring,
        tokenizer=byte_tokenizer(),
        context_length=CONTEXT,
        pad_id=0,
        activation="tanh",
        lineage="test",
        card=None,
        arch=None,
        stated=("tiny attention",),
    )
