"""A folder with a transformers CLIPModel or SiglipModel (config.json + safetensors) → LoadedModel."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from cxrzero.cards.card import Card
from cxrzero.clip.steps import Steps
from cxrzero.convert.folder_tokenizer import pad_id, read_tokenizer
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.recognise import SHOWN
from cxrzero.convert.towers import hugging_face_towers
from cxrzero.errors import ImportModelError, MissingExtraError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
MODELS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
# Pillow's numbers of its filters, which these configurations use.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def load_huggingface_folder(folder: Path, card: Card | None = None) -> LoadedModel:
    """Read model, preprocessing and tokenizer of one folder; nothing is fetched.

    Raises:
        ImportModelError: a file is missing, or weights and configuration do not fit.
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    kind = kind_of(folder)
    if kind not in MODELS:
        raise ImportModelError(
            f"{folder / CONFIG}: model_type {kind!r} is not supported; known are {', '.join(MODELS)}"
        )
    _silence(transformers.utils.logging)
    model = _load(getattr(transformers, MODELS[kind]), folder)
    config, size = model.config, int(model.config.vision_config.image_size)
    scale = math.exp(model.logit_scale.detach().item())
    scoring: dict[str, Any] = {"rule": "softmax_pair", "scale": scale}
    if kind == "siglip":
        scoring = {"rule": "sigmoid", "scale": scale, "bias": model.logit_bias.detach().item()}
    activation = config.vision_config.hidden_act
    tokenizer, tokenizer_files = read_tokenizer(folder)
    return LoadedModel(
        model=model,
        towers=hugging_face_towers(model),
        architecture=f"transformers {MODELS[kind]}, patch {config.vision_config.patch_size} at {size} px",
        embed_dim=int(config.projection_dim if kind == "clip" else config.vision_config.hidden_size),
        image_size=(size, size),
        preprocess=image_steps(read_json(folder / PREPROCESSOR), folder / PREPROCESSOR),
        scoring=scoring,
        tokenizer=tokenizer,
        context_length=int(config.text_config.max_position_embeddings),
        pad_id=pad_id(folder, tokenizer, otherwise=int(config.text_config.pad_token_id)),
        activation=activation,
        lineage=card.name if card else "source",
        card=card,
        arch=None,
        stated=(
            f"architecture: transformers {MODELS[kind]} ({CONFIG})",
            f"preprocessing: {PREPROCESSOR}",
            f"activation: {activation} ({CONFIG})",
            f"tokenizer: {tokenizer_files}",
        ),
    )


def kind_of(folder: Path) -> Any:
    """The model_type that config.json states; one of MODELS, or another's, or None.

    Raises:
        ImportModelError: there is no config.json, or it is none.
    """
    return read_json(folder / CONFIG).get("model_type")


def _silence(logging: Any) -> None:
    """Keep progress bars and advice of another library from standing between our lines."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _load(model_class: Any, folder: Path) -> Any:
    try:
        model, info = model_class.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ImportModelError(f"{folder} cannot be read: {error}") from error
    wrong = [f"{what.removesuffix('_keys')} {key}" for what in sorted(info) for key in info[what] if "_keys" in what]
    if wrong:
        raise ImportModelError(f"{folder}: the weights do not fit {CONFIG}: {', '.join(map(str, wrong[:SHOWN]))}")
    return model.eval()


def image_steps(config: dict[str, Any], path: Path) -> Steps:
    """The image processor's steps; Pillow's filters, as its slow variant uses."""
    try:
        interpolation = RESAMPLE[config.get("resample", 3)]
        steps: Steps = []
        if config.get("do_resize", True):
            size = config["size"]
            side = size if isinstance(size, int) else size.get("shortest_edge")
            steps.append(
                {"step": "resize_shortest", "size": side, "interpolation": interpolation}
                if side
                else {
                    "step": "resize",
                    "height": size["height"],
                    "width": size["width"],
                    "interpolation": interpolation,
                }
            )
        if config.get("do_center_crop", False):
            crop = config["crop_size"]
            crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
            steps.append({"step": "center_crop", "height": crop["height"], "width": crop["width"]})
        steps.append({"step": "rescale", "factor": config.get("rescale_factor", 1 / 255)})
        if config.get("do_normalize", True):
            steps.append({"step": "normalize", "mean": config["image_mean"], "std": config["image_std"]})
    except (KeyError, AttributeError, TypeError) as error:
        raise ImportModelError(f"{path} does not state its preprocessing: {error}") from error
    return steps


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ImportModelError(f"{path} is missing; fetch it from where the weights came from") from None
    except (OSError, ValueError) as error:
        raise ImportModelError(f"{path} cannot be read as JSON: {error}") from error
    return dict(content)
