"""MedImageInsight (Codella et al. 2024): a DaViT and a text transformer without causal mask, one cosine.

The authors' code is published with the weights at Hugging Face, lion-ai/MedImageInsights; its mirror at GitHub,
visual-layer/MedImageInsight, commit e31cae3, was read. What no tensor tells is stated in its 2024.09.27/config.yaml.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.cards.card import load_card
from cxrzero.clip.steps import Steps
from cxrzero.clip.tokenizer import clip_tokenizer
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.davit import WINDOW, build_davit
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others, source_of
from cxrzero.convert.recognise import HEAD_WIDTH
from cxrzero.convert.towers import Towers
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError, UsageError

NAME = "medimageinsight"
SIDE = 480  # pixels; config.yaml: IMAGE_SIZE
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # config.yaml: IMAGE_MEAN, IMAGE_STD
TEXT_EPS = 1e-12  # of the text tower's norms; LangEncoder/transformer.py: LayerNorm
IMAGE, TEXT = "image_encoder.", "lang_encoder."
# The second names are those of the model before its publication, which the authors' loader takes, too
# (UniCLModel.py: _convert_old_weights).
NAMES = (
    (r"^visual\.", IMAGE),
    (r"^text\.", TEXT),
    (r"^vision_projection$", "image_projection"),
    (r"^text_projection$", "lang_projection"),
)
DAVIT = re.compile(r"(image_encoder|visual)\.(blocks|main_blocks)\.0\.0\.(channel_block|1)\.")


class _Image(nn.Module):
    """(N, 3, 480, 480) → (N, D), rows of length 1."""

    def __init__(self, trunk: nn.Module, projection: Tensor) -> None:
        super().__init__()
        self.trunk, self.projection = trunk, nn.Parameter(projection)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.trunk(pixel_values) @ self.projection, dim=-1)


class _Text(nn.Module):
    """input_ids (N, L) → (N, D), rows of length 1.

    Tokens look at the whole text, and at nothing behind its end: the token of the highest id, which stands for it.
    """

    def __init__(self, words: int, context: int, width: int, layers: int, dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.empty(context, width))
        self.resblocks = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width, TEXT_EPS)
        self.projection = nn.Parameter(torch.empty(width, dim))

    def forward(self, input_ids: Tensor) -> Tensor:
        end = input_ids.argmax(dim=-1, keepdim=True)
        behind = torch.arange(input_ids.shape[1])[None] > end
        tokens = self.token_embedding(input_ids) + self.positional_embedding
        for layer in self.resblocks:
            tokens = layer(tokens, behind)
        last = self.ln_final(tokens).gather(1, end[:, :, None].expand(-1, -1, tokens.shape[-1]))[:, 0]
        return functional.normalize(last @ self.projection, dim=-1)


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(1, width // HEAD_WIDTH), batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, TEXT_EPS), nn.LayerNorm(width, TEXT_EPS)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor, behind: Tensor) -> Tensor:
        seen = self.ln_1(tokens)
        tokens = tokens + self.attn(seen, seen, seen, key_padding_mask=behind, need_weights=False)[0]
        hidden = self.mlp["c_fc"](self.ln_2(tokens))
        return tokens + torch.as_tensor(self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden)))


def _recognises(weights: Mapping[str, Tensor]) -> bool:
    return any(DAVIT.match(name) for name in weights)


def _load(weights: StateDict, source: Source) -> LoadedModel:
    if source.tokenizer is not None:
        raise UsageError(f"{NAME} reads words with CLIP's own vocabulary; leave out --tokenizer")
    named = {_renamed(name): value for name, value in weights.items()}
    needed = ("image_projection", "lang_projection", "logit_scale", f"{TEXT}token_embedding.weight")
    if missing := [name for name in needed if name not in named]:
        raise ImportModelError(f"{source.path} has no {', '.join(missing)}, which {NAME} needs")
    refuse_others(named, (*needed[:3], IMAGE, TEXT), NAME)
    trunk = build_davit(part(named, IMAGE), f"the image tower of {NAME}")
    width, dim = trunk.norm.weight.shape[0], named["lang_projection"].shape[1]
    if tuple(named["image_projection"].shape) != (width, dim):
        raise ImportModelError(
            f"image_projection of {NAME} has shape {tuple(named['image_projection'].shape)}, needed is {(width, dim)}"
        )
    image = _Image(trunk, named["image_projection"]).eval()
    text = _text(part(named, TEXT) | {"projection": named["lang_projection"]})
    tokenizer, card, scale = clip_tokenizer(), load_card(NAME), math.exp(float(named["logit_scale"]))
    words, layers = text.token_embedding.num_embeddings, len(text.resblocks)
    if tokenizer.get_vocab_size() != words:
        raise ImportModelError(
            f"the text tower of {NAME} has {words:,} tokens, and CLIP has {tokenizer.get_vocab_size():,}"
        )
    depths = "-".join(str(len(stage.pairs)) for stage in trunk.stages)
    architecture = f"DaViT {depths} to {width} at {SIDE} px + text transformer {layers}x{text.ln_final.weight.shape[0]}"
    return LoadedModel(
        model=None,
        towers=Towers(image, image, text, has_patches=False),
        architecture=architecture,
        embed_dim=dim,
        image_size=(SIDE, SIDE),
        preprocess=_steps(),
        scoring={"rule": "softmax_pair", "scale": scale},
        tokenizer=tokenizer,
        context_length=text.positional_embedding.shape[0],
        pad_id=words - 1,  # the token of the end, as the authors' tokenizer fills up
        activation="GELU, texts QuickGELU",
        lineage=card.name,
        card=card,
        arch=None,
        stated=(
            f"architecture: {architecture} (by the shapes of its tensors)",
            f"preprocessing and scoring rule: the authors' ({source_of(card, 'preprocess')})",
            f"what no tensor tells, of their config.yaml: {SIDE} px, windows of {WINDOW} tokens, heads of 32 and 64",
        ),
    )


def _renamed(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _text(weights: StateDict) -> _Text:
    words, places = weights["token_embedding.weight"], weights.get("positional_embedding", torch.empty(0))
    layers = {name.split(".")[1] for name in weights if name.startswith("resblocks.")}
    text = _Text(words.shape[0], places.shape[0], words.shape[1], len(layers), weights["projection"].shape[1])
    return fill(text, weights, f"the text tower of {NAME}")


def _steps() -> Steps:
    """ImageDataLoader/transforms/build.py: build_transforms without CENTER_CROP, on a picture converted to RGB."""
    return [
        {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bicubic"},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": MEAN, "std": STD},
    ]


MEDIMAGEINSIGHT = Layout(NAME, _recognises, _load)
