"""RadZero (deepnoid-ai/RadZero, 656ae5f): a DINOv2 with two more layers, an MPNet, and attention by similarity.

A Hugging Face folder. A sentence is one vector; its cosines with a film's tokens, over a temperature, weigh the tokens
(softmax), and the logit is the cosine of their sum with the sentence, over the temperature again (RadZeroLoss and
SimilarityLogit of exp/cxr_pt/model/losses.py, compute_logits of modeling.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.cards.card import load_card
from cxrzero.convert.folder_tokenizer import read_tokenizer
from cxrzero.convert.huggingface_folder import CONFIG, PREPROCESSOR, image_steps, read_json
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import mean_of_tokens, part
from cxrzero.convert.published.layout import Layout, Source
from cxrzero.convert.published.mpnet import PAD_ID, MPNet, build_mpnet
from cxrzero.convert.recognise import HEAD_WIDTH, check_keys
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME = "radzero"
PROJECTION = "embeddings.patch_embeddings.projection."
IMAGE, MORE, TEXT, LOSS = (
    "vision_model.",
    "align_transformer.transformer_layers.",
    "text_model.",
    "loss_fns.RadZeroLoss.",
)
# The authors read 512 tokens. Texts are padded to this length, and 128 are a quarter of the work; chosen by cxrzero.
CONTEXT = 128
Norm = partial(nn.LayerNorm, eps=1e-6)  # DINOv2's; the last one of all has torch's own 1e-5
# transformers' names in a layer → timm's.
NAMES = {
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
PARTS = ("query", "key", "value")  # which timm keeps in one


class ImageTower(nn.Module):
    """pixel_values (N, 3, H, W) → (N, 1 + h·w, D), each of length 1: the class token, then the patches."""

    def __init__(self, image: Mapping[str, Tensor], more: Mapping[str, Tensor], last: nn.Module, grid: int) -> None:
        super().__init__()
        projection, layernorm = part(image, PROJECTION), part(image, "layernorm.")
        width, channels, *patch = projection["weight"].shape
        self.projection = nn.Conv2d(channels, width, patch, patch)
        self.projection.load_state_dict(projection)
        self.register_buffer("cls_token", image["embeddings.cls_token"])
        self.register_buffer("places", interpolated(image["embeddings.position_embeddings"], grid))
        self.layers, self.added = _layers(image, "encoder.layer."), _layers(more, "layer.")
        self.layernorm, self.last = Norm(width), last
        self.layernorm.load_state_dict(layernorm)

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.projection(pixel_values).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.places
        tokens = self.added(self.layernorm(self.layers(tokens)))
        return functional.normalize(self.last(tokens), dim=-1)


class TextTower(nn.Module):
    """input_ids (L, S) → (L, 1, D) of length 1: the mean of the text's tokens, behind the last norm."""

    def __init__(self, mpnet: MPNet, last: nn.Module) -> None:
        super().__init__()
        self.mpnet, self.last = mpnet, last

    def forward(self, input_ids: Tensor) -> Tensor:
        mean = mean_of_tokens(self.mpnet(input_ids), self.mpnet.mask(input_ids))
        return functional.normalize(self.last(mean), dim=-1)[:, None]


class Scorer(nn.Module):
    """(image_tokens (N, T, D), text_tokens (L, 1, D)) → logits (N, L), similarity map (N, L, h, w) before softmax."""

    def __init__(self, attention_temperature: float, temperature: float, grid: int) -> None:
        super().__init__()
        self.attention_temperature, self.temperature, self.grid = attention_temperature, temperature, grid

    def forward(self, image_tokens: Tensor, text_tokens: Tensor) -> tuple[Tensor, Tensor]:
        sentences = text_tokens[:, 0]
        scores = torch.matmul(image_tokens, sentences.transpose(0, 1)).transpose(1, 2) / self.attention_temperature
        seen = functional.normalize(torch.matmul(scores.softmax(dim=-1), image_tokens), dim=-1)
        logits = (seen * sentences[None]).sum(dim=-1) / self.temperature
        return logits, scores[:, :, 1:].unflatten(2, (self.grid, self.grid))


def recognises(weights: Mapping[str, Tensor]) -> bool:
    return f"{LOSS}loss_temperature" in weights


def load(weights: StateDict, source: Source) -> LoadedModel:
    """The folder of RadZero.

    Raises:
        ImportModelError: a tower or a file is missing, or they are not those of this model.
    """
    image, more, text, loss = (part(weights, prefix) for prefix in (IMAGE, MORE, TEXT, LOSS))
    if not image or not text:
        raise ImportModelError(f"{source.path} has no {'image' if not image else 'text'} tower; RadZero needs both")
    _check_whole(weights, source)
    preprocess, side = _preprocess(source)
    width, patch = image[f"{PROJECTION}weight"].shape[::3]
    if side % patch:
        raise ImportModelError(f"{source.folder / PREPROCESSOR}: {side} px are not whole patches of {patch}")
    grid, last = side // patch, nn.LayerNorm(width)
    last.load_state_dict({name: loss[f"layer_norm.{name}"] for name in ("weight", "bias")})
    temperature = float(loss["loss_temperature"].exp())
    looking = float(loss["attn_temperature"].exp()) if "attn_temperature" in loss else temperature
    mpnet = build_mpnet(text, CONTEXT, "RadZero")
    place = source.tokenizer or source.folder
    tokenizer, tokenizer_files = read_tokenizer(place if place.is_dir() else place.parent)
    tower = ImageTower(image, more, last, grid)
    scorer = Scorer(looking, temperature, grid)
    stored = round((image["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    return LoadedModel(
        model=None,
        towers=AttentionTowers(tower.eval(), TextTower(mpnet, last).eval(), scorer, has_attention=True),
        architecture=f"RadZero: DINOv2 patch {patch} at {side} px, MPNet, attention by similarity",
        embed_dim=None,
        image_size=(side, side),
        preprocess=preprocess,
        scoring={"rule": "scorer", "scale": 1.0, "bias": 0.0, "pairs": False, "labels": "independent"},
        tokenizer=tokenizer,
        context_length=CONTEXT,
        pad_id=PAD_ID,
        activation="GELU",
        lineage=NAME,
        card=load_card(NAME),
        arch=None,
        stated=(
            f"architecture: {len(tower.layers)} + {len(tower.added)} layers of {width} for films, "
            f"{len(mpnet.layers)} for texts (by the shapes of its tensors)",
            f"places: {stored} × {stored}, {'as they are' if stored == grid else f'interpolated to {grid} × {grid}'}",
            f"preprocessing: grey stretched as the authors' evaluation does, then {PREPROCESSOR}",
            f"temperature: {temperature:.4g} of the weights",
            f"tokenizer: {tokenizer_files}",
        ),
    )


def interpolated(places: Tensor, grid: int) -> Tensor:
    """(1, 1 + n·n, D) → (1, 1 + grid·grid, D), as Dinov2Embeddings of transformers 4.39.3, which the authors pin."""
    stored = round((places.shape[1] - 1) ** 0.5)
    if stored * stored + 1 != places.shape[1]:
        raise ImportModelError(f"the image tower of RadZero has {places.shape[1]} places, which are no square and one")
    if stored == grid:
        return places
    square = places[:, 1:].unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
    larger = functional.interpolate(
        square, scale_factor=((grid + 0.1) / stored,) * 2, mode="bicubic", align_corners=False
    )
    return torch.cat([places[:, :1], larger.flatten(2).transpose(1, 2)], dim=1)


def _layers(weights: Mapping[str, Tensor], prefix: str) -> nn.Sequential:
    """DINOv2's layers as timm's, in evaluation mode."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)}
    return nn.Sequential(*(_layer(part(weights, f"{prefix}{number}.")) for number in sorted(numbers, key=int)))


def _layer(weights: StateDict) -> nn.Module:
    try:
        inner, width = weights["mlp.fc1.weight"].shape
        own = {
            f"attn.qkv.{kind}": torch.cat([weights.pop(f"attention.attention.{name}.{kind}") for name in PARTS])
            for kind in ("weight", "bias")
        }
    except KeyError as error:
        raise ImportModelError(f"a layer of the image tower of RadZero has no {error.args[0]}") from None
    for theirs, value in weights.items():
        stem = next((name for name in NAMES if theirs.startswith(name)), "")
        own[NAMES.get(stem, "") + theirs.removeprefix(stem)] = value
    heads = max(1, width // HEAD_WIDTH)
    block = Block(width, heads, mlp_ratio=inner / width, qkv_bias=True, init_values=1.0, norm_layer=Norm)
    check_keys(block, own, "a layer of the image tower of RadZero")
    block.load_state_dict(own)
    return block.eval()


def _check_whole(weights: Mapping[str, Tensor], source: Source) -> None:
    """All but the layers, which are checked one by one: nothing is missing, and nothing of another version is there."""
    used = [f"{IMAGE}embeddings.{name}" for name in ("cls_token", "position_embeddings")]
    used += [f"{IMAGE}{PROJECTION}{kind}" for kind in ("weight", "bias")]
    used += [f"{stem}.{kind}" for stem in (f"{IMAGE}layernorm", f"{LOSS}layer_norm") for kind in ("weight", "bias")]
    allowed = {*used, f"{IMAGE}embeddings.mask_token", f"{LOSS}loss_temperature", f"{LOSS}attn_temperature"}
    below = (f"{IMAGE}encoder.layer.", f"{MORE}layer.", TEXT)
    wrong = [f"missing {name}" for name in used if name not in weights]
    wrong += [f"unexpected {name}" for name in weights if name not in allowed and not name.startswith(below)]
    wrong += [f"missing {prefix}" for prefix in below if not any(name.startswith(prefix) for name in weights)]
    if wrong:
        raise ImportModelError(f"{source.path} does not have the tensors of RadZero: {', '.join(wrong[:10])}")


def _preprocess(source: Source) -> tuple[list[dict[str, Any]], int]:
    """collate_fn of exp/cxr_pt/inference/dataset.py (cv2.normalize), then the image processor; and its side."""
    path = source.folder / PREPROCESSOR
    steps = image_steps(read_json(path), path)
    sizes = {step[key] for step in steps for key in ("height", "width") if key in step}
    stated = json.loads((source.folder / CONFIG).read_text("utf-8")) if (source.folder / CONFIG).is_file() else {}
    trained = (stated.get("vision_config") or {}).get("img_size")
    if len(sizes) != 1 or trained not in (None, *sizes):
        raise ImportModelError(
            f"{path} makes pictures of {sizes or 'no'} px, and {CONFIG} states {trained}: they differ"
        )
    return [{"step": "stretch", "rounding": "nearest"}, *steps], sizes.pop()


RADZERO = Layout(NAME, recognises, load)
