"""A folder in open_clip's format (open_clip_config.json + weights) → LoadedModel."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from open_clip.model import convert_to_custom_text_state_dict
from tokenizers import Tokenizer

from cxrzero.cards.card import Card
from cxrzero.clip.architecture import build_model
from cxrzero.clip.steps import OPENAI_MEAN, OPENAI_STD, Steps
from cxrzero.clip.tokenizer import PAD_ID, clip_tokenizer
from cxrzero.convert.cleaning import with_cleaning
from cxrzero.convert.folder_tokenizer import read_tokenizer
from cxrzero.convert.loaded import LoadedModel, square
from cxrzero.convert.recognise import HEAD_WIDTH, fill
from cxrzero.convert.shards import INDEX
from cxrzero.convert.towers import open_clip_towers
from cxrzero.convert.weights import StateDict, read_weights
from cxrzero.errors import AmbiguousModelError, ImportModelError, MissingExtraError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
BERT = "text.transformer."
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos")


def load_openclip_folder(folder: Path, card: Card | None = None) -> LoadedModel:
    """Read configuration, weights and tokenizer of one folder; nothing else is looked up anywhere.

    Raises:
        ImportModelError: a file is missing or does not fit the others.
        MissingExtraError: the text tower is transformers' and that is not installed.
    """
    config = _read_json(folder / CONFIG)
    arch, preprocess = dict(config.get("model_cfg", config)), config.get("preprocess_cfg", {})
    weights = _convert(read_weights(_find_weights(folder)))
    text_cfg = dict(arch["text_cfg"])
    is_hugging_face = "hf_model_name" in text_cfg
    with _text_config(folder, weights) if is_hugging_face else _nothing() as text_config:
        if is_hugging_face:
            text_cfg |= {"hf_model_name": text_config, "hf_model_pretrained": False}
        arch |= {"text_cfg": text_cfg, "architecture": _described(arch)}
        model = build_model(arch).eval()
    weights.pop(f"{BERT}embeddings.position_ids", None)  # written by transformers before 4.31; not a weight
    fill(model, weights, arch["architecture"])
    size = square(arch["vision_cfg"]["image_size"])
    tokenizer = _tokenizer(folder, text_cfg)
    activation = "GELU" if not arch.get("quick_gelu") else "QuickGELU"
    return LoadedModel(
        model=model,
        towers=open_clip_towers(model),
        architecture=arch["architecture"],
        embed_dim=int(arch["embed_dim"]),
        image_size=size,
        preprocess=_steps(preprocess, size),
        scoring=_scoring(weights),
        tokenizer=tokenizer,
        context_length=int(text_cfg.get("context_length", 77)),
        pad_id=int(model.text.config.pad_token_id) if is_hugging_face else PAD_ID,
        activation=activation,
        lineage=card.name if card else "source",
        card=card,
        arch=None if is_hugging_face else arch,
        stated=(
            f"architecture: {arch['architecture']} ({CONFIG})",
            f"preprocessing: {CONFIG}",
            f"activation: {activation} ({CONFIG})",
        ),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ImportModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ImportModelError(f"{path} must hold a JSON object")
    return content


def _find_weights(folder: Path) -> Path:
    for name in (*WEIGHTS, *(f"{name}{INDEX}" for name in WEIGHTS)):
        if (folder / name).is_file():
            return folder / name
    raise ImportModelError(f"{folder} has {CONFIG} but no weights; one of {', '.join(WEIGHTS)} is needed")


def _convert(weights: StateDict) -> StateDict:
    return dict(convert_to_custom_text_state_dict(weights))


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


@contextmanager
def _text_config(folder: Path, weights: Mapping[str, Any]) -> Iterator[str]:
    """A folder with the text tower's config.json: open_clip would fetch it by name.

    The repository's own config.json is taken where it describes a text model; else BERT's, from the shapes.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    own = folder / "config.json"
    if own.is_file() and "hidden_size" in (content := _read_json(own)) and "vision_config" not in content:
        yield str(folder)
        return
    try:
        words = weights[f"{BERT}embeddings.word_embeddings.weight"]
        layers = {name.split(".")[4] for name in weights if name.startswith(f"{BERT}encoder.layer.")}
        config = transformers.BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len(layers),
            num_attention_heads=words.shape[1] // HEAD_WIDTH,
            intermediate_size=weights[f"{BERT}encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=weights[f"{BERT}embeddings.position_embeddings.weight"].shape[0],
            type_vocab_size=weights[f"{BERT}embeddings.token_type_embeddings.weight"].shape[0],
        )
    except KeyError as error:
        raise AmbiguousModelError(
            f"{folder}: the text tower is not BERT ({error} is missing); put its config.json into the folder"
        ) from None
    with tempfile.TemporaryDirectory() as target:
        config.save_pretrained(target)
        yield target


def _described(arch: Mapping[str, Any]) -> str:
    vision, text = arch["vision_cfg"], arch["text_cfg"]
    image = vision.get("timm_model_name") or f"ViT {vision.get('layers')}x{vision.get('width')}"
    words = text.get("hf_model_name") or f"transformer {text.get('layers')}x{text.get('width')}"
    return f"open_clip: {image} + {_published(words)}"


def _published(name: str) -> str:
    """A name on the Hub (organisation/model), or the last part of what is a path on its author's machine."""
    parts = re.split(r"[/\\]", name)
    return name if len(parts) <= 2 and all(part.strip(".~") for part in parts) else parts[-1]


def _steps(config: Mapping[str, Any], size: tuple[int, int]) -> Steps:
    """open_clip's image_transform for inference."""
    mode, interpolation = config.get("resize_mode", "shortest"), config.get("interpolation", "bicubic")
    if mode not in ("shortest", "squash") or interpolation not in INTERPOLATIONS or size[0] != size[1]:
        raise ImportModelError(f"{CONFIG}: resize_mode {mode!r} with {interpolation!r} to {size} is not supported")
    height, width = size
    geometry: Steps = [{"step": "resize", "height": height, "width": width, "interpolation": interpolation}]
    if mode == "shortest":
        geometry = [
            {"step": "resize_shortest", "size": height, "interpolation": interpolation},
            {"step": "center_crop", "height": height, "width": width},
        ]
    mean, std = list(config.get("mean", OPENAI_MEAN)), list(config.get("std", OPENAI_STD))
    return [*geometry, {"step": "rescale", "factor": 1 / 255}, {"step": "normalize", "mean": mean, "std": std}]


def _scoring(weights: StateDict) -> dict[str, Any]:
    """A model with a bias was trained with the sigmoid loss, any other with the softmax."""
    if "logit_scale" not in weights:
        raise ImportModelError("the weights have no logit_scale, which the scoring rule needs")
    scale = math.exp(float(weights["logit_scale"].reshape(-1)[0]))
    if "logit_bias" in weights:
        return {"rule": "sigmoid", "scale": scale, "bias": float(weights["logit_bias"].reshape(-1)[0])}
    return {"rule": "softmax_pair", "scale": scale}


def _tokenizer(folder: Path, text_cfg: Mapping[str, Any]) -> Tokenizer:
    options = dict(text_cfg.get("tokenizer_kwargs", {}))
    if not text_cfg.get("hf_tokenizer_name"):
        return clip_tokenizer()
    if options.pop("strip_sep_token", False) or text_cfg.get("tokenizer_mode"):
        raise ImportModelError(f"{folder / CONFIG}: strip_sep_token and tokenizer_mode are not supported")
    return with_cleaning(read_tokenizer(folder)[0], options.get("clean", "whitespace"))
