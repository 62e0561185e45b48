"""RadZero (deepnoid-ai/RadZero, 656ae5f): a DINOv2 with two more layers, an MPNet, and attention by similarity.

A Hugging Face folder. A sentence is one vector; its cosines with a film's tokens, over a temperature, weigh the tokens
(softmax), and the logit is the cosine of their sum with the sentence, over the temperature again (RadZeroLoss and
SimilarityLogit of exp/cxr_pt/model/losses.py, compute_logits of modeling.py).
"""

from __future__ import annotations

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
from cxrzero.convert.published.bert import WORDS, mean_of_tokens
from cxrzero.convert.published.dinov2 import EPSILON, Dinov2, build_dinov2
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others
from cxrzero.convert.published.mpnet import PAD_ID, MPNet, build_mpnet
from cxrzero.convert.recognise import HEAD_WIDTH
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME = "radzero"
IMAGE, MORE, TEXT = "vision_model.", "align_transformer.transformer_layers.", "text_model."
LOSS = "loss_fns.RadZeroLoss."
NORM, TEMPERATURE, LOOKING = f"{LOSS}layer_norm.", f"{LOSS}loss_temperature", f"{LOSS}attn_temperature"
# The authors read 512 tokens. Texts are padded to this length, and 128 are a quarter of the work; chosen by cxrzero.
CONTEXT = 128
# How transformers' names in a DINOv2 begin, and what stands in them → its authors', which dinov2.py reads.
BEGINNINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.": "patch_embed.",
    "encoder.layer.": "blocks.",
    "layer.": "blocks.",
    "layernorm.": "norm.",
}
INSIDE = {
    ".projection.": ".proj.",
    ".attention.output.dense.": ".attn.proj.",
    ".layer_scale1.lambda1": ".ls1.gamma",
    ".layer_scale2.lambda1": ".ls2.gamma",
}
QUERY, JOINED = ".attention.attention.query.", ".attn.qkv."  # transformers keeps query, key and value apart


class ImageTower(nn.Module):
    """pixel_values (N, 3, H, W) → (N, 1 + h·w, D), each of length 1: the class token, then the patches."""

    def __init__(self, vision: Dinov2, added: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.vision, self.added, self.last = vision, added, last

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.last(self.added(self.vision(pixel_values))), dim=-1)


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
    return TEMPERATURE in weights


def load(weights: StateDict, source: Source) -> LoadedModel:
    """The folder of RadZero.

    Raises:
        ImportModelError: a tower or a file is missing, or they are not those of this model.
    """
    refuse_others(weights, (IMAGE, f"{MORE}layer.", TEXT, NORM, TEMPERATURE, LOOKING), NAME)
    image, more, text = (part(weights, prefix) for prefix in (IMAGE, MORE, TEXT))
    if not image or not text:
        raise ImportModelError(f"{source.path} has no {'image' if not image else 'text'} tower; RadZero needs both")
    preprocess, side = _preprocess(source)
    vision, added = build_dinov2(_renamed(image), "RadZero", side), _added(_renamed(more))
    width, places = vision.cls_token.shape[-1], image["embeddings.position_embeddings"].shape[1] - 1
    last = fill(nn.LayerNorm(width), part(weights, NORM), "the last norm of RadZero")
    temperature = _exponentiated(weights, TEMPERATURE)
    looking = _exponentiated(weights, LOOKING) if LOOKING in weights else temperature
    mpnet = build_mpnet(text, CONTEXT, "RadZero")
    if text[WORDS].shape[1] != width:
        raise ImportModelError(f"{source.path}: its towers are of different widths")
    place = source.tokenizer or source.folder
    tokenizer, tokenizer_files = read_tokenizer(place if place.is_dir() else place.parent)
    tower = ImageTower(vision, added, last)
    scorer = Scorer(looking, temperature, vision.grid)
    return LoadedModel(
        model=None,
        towers=AttentionTowers(tower.eval(), TextTower(mpnet, last).eval(), scorer, has_attention=True),
        architecture=f"RadZero: DINOv2 patch {vision.patch} at {side} px, MPNet, attention by similarity",
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
            f"architecture: {len(vision.blocks)} + {len(added)} layers of {width} for films, {len(mpnet.layers)} for "
            "texts (by the shapes of its tensors)",
            f"places: {places}, {'as they are' if places == vision.grid**2 else f'interpolated to {vision.grid**2}'}",
            f"preprocessing: grey stretched as the authors' evaluation does, then {PREPROCESSOR}",
            f"temperature: {temperature:.4g}, of the weights",
            f"tokenizer: {tokenizer_files}",
        ),
    )


def _renamed(weights: Mapping[str, Tensor]) -> StateDict:
    """A DINOv2's tensors by its authors' names."""
    renamed: StateDict = {}
    for name, value in weights.items():
        if QUERY in name:
            parts = [name.replace("query", each) for each in ("query", "key", "value")]
            missing = [each for each in parts if each not in weights]
            if missing:
                raise ImportModelError(f"the image tower of RadZero has no {missing[0]}")
            name, value = name.replace(QUERY, JOINED), torch.cat([weights[each] for each in parts])
        elif ".attention.attention." in name and name.replace("key", "query").replace("value", "query") in weights:
            continue
        beginning = next((each for each in BEGINNINGS if name.startswith(each)), "")
        name = BEGINNINGS.get(beginning, "") + name.removeprefix(beginning)
        for theirs, own in INSIDE.items():
            name = name.replace(theirs, own)
        renamed[name] = value
    return renamed


def _added(weights: StateDict) -> nn.Sequential:
    """The layers behind DINOv2's norm, Dinov2Encoder of transformers."""
    depth = len({name.split(".")[1] for name in weights})
    try:
        inner, width = weights["blocks.0.mlp.fc1.weight"].shape
    except KeyError:
        raise ImportModelError("the layers that RadZero adds to DINOv2 are missing, or have no MLP") from None
    norm = partial(nn.LayerNorm, eps=EPSILON)
    blocks = [
        Block(
            width, max(1, width // HEAD_WIDTH), mlp_ratio=inner / width, qkv_bias=True, init_values=1.0, norm_layer=norm
        )
        for _ in range(depth)
    ]
    return fill(nn.Sequential(*blocks), part(weights, "blocks."), "the added layers of RadZero")


def _exponentiated(weights: Mapping[str, Tensor], name: str) -> float:
    value = weights[name].exp()
    if value.numel() != 1 or not torch.isfinite(value).all() or not value.all():
        raise ImportModelError(f"{name} of RadZero is no temperature: the weights are damaged")
    return value.item()


def _preprocess(source: Source) -> tuple[list[dict[str, Any]], int]:
    """collate_fn of exp/cxr_pt/inference/dataset.py (cv2.normalize), then the image processor; and its side."""
    path = source.folder / PREPROCESSOR
    steps = image_steps(read_json(path), path)
    sizes = {step[key] for step in steps for key in ("height", "width") if key in step}
    config = source.folder / CONFIG
    vision = read_json(config).get("vision_config") if config.is_file() else None
    trained = vision.get("img_size") if isinstance(vision, dict) else None
    if len(sizes) != 1 or trained not in (None, *sizes):
        made = " and ".join(map(str, sorted(sizes))) or "any"
        raise ImportModelError(f"{path} makes pictures of {made} px, and {CONFIG} states {trained}: they do not fit")
    return [{"step": "stretch", "rounding": "nearest"}, *steps], sizes.pop()


RADZERO = Layout(NAME, recognises, load)
