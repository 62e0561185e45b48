"""From a run's checkpoint to a model bundle in the same folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cxrzero._version import __version__
from cxrzero.bundle import IMAGE_ENCODER, MODEL_JSON, SCHEMA_VERSION, TEXT_ENCODER, TOKENIZER
from cxrzero.errors import TrainingError, UsageError
from cxrzero.train.model import Arch, build_model
from cxrzero.train.onnx_export import ExportedModel, export_onnx
from cxrzero.train.vocabulary import PAD_ID

CHECKPOINT = "checkpoint.pt"
CARD_KEYS = ("name", "labels", "license", "intended_use", "training_data")
# The paper's rule p = e^cos⁺ / (e^cos⁺ + e^cos⁻), where there was nothing to fit a scale on.
UNFITTED_SCALE = 1.0


def export_run(folder: Path, card: Path | None = None) -> Path:
    """Write the bundle of a run: also of one that was stopped, from the last epoch that it finished.

    Args:
        folder: run folder with checkpoint.pt and tokenizer.json; receives the bundle.
        card: JSON file with any of the facts CARD_KEYS; what it lacks is null in the bundle.

    Raises:
        TrainingError: there is no usable checkpoint, or the exported model does not answer like the trained one.
        UsageError: the card cannot be read.
    """
    content = _load(folder / CHECKPOINT)
    arch: Arch = content["arch"]
    size, context_length = arch["vision_cfg"]["image_size"], arch["text_cfg"]["context_length"]
    model = build_model(arch).eval()
    model.load_state_dict(content["model"])
    exported = export_onnx(model, arch["vision_cfg"], size, context_length)
    facts = _read_card(card)

    files = {
        IMAGE_ENCODER: exported.image_encoder,
        TEXT_ENCODER: exported.text_encoder,
        TOKENIZER: (folder / TOKENIZER).read_bytes(),
    }
    # model.json last: a folder without it is not a bundle, and with the old one its hashes would not fit.
    (folder / MODEL_JSON).unlink(missing_ok=True)
    for name, data in files.items():
        _replace(folder / name, data)
    described = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    model_json = _describe(content, facts, exported, described, default_name=folder.name)
    _replace(folder / MODEL_JSON, (json.dumps(model_json, indent=2, ensure_ascii=False) + "\n").encode())
    return folder


def _load(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path.parent} has no {path.name}: no epoch was finished there") from None
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    return content


def _read_card(card: Path | None) -> dict[str, Any]:
    if card is None:
        return {}
    try:
        facts = json.loads(card.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{card} cannot be read as JSON: {error}") from error
    if not isinstance(facts, dict) or set(facts) - set(CARD_KEYS):
        raise UsageError(f"{card} must be a JSON object with the keys {', '.join(CARD_KEYS)} only")
    return facts


def _describe(
    content: dict[str, Any],
    facts: dict[str, Any],
    exported: ExportedModel,
    files: dict[str, dict[str, Any]],
    default_name: str,
) -> dict[str, Any]:
    """The content of model.json. A fact that nobody stated is null."""
    arch, scale = content["arch"], content["scale"]
    size, grid = arch["vision_cfg"]["image_size"], exported.patch_grid
    provenance = content["provenance"] | {"versions": _versions()}
    provenance["recipe"] |= {"scoring_scale": "fitted on held-out rows" if scale else "not fitted"}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": facts.get("name") or default_name,
        "architecture": arch["architecture"],
        "embed_dim": arch["embed_dim"],
        "image_size": [size, size],
        "context_length": arch["text_cfg"]["context_length"],
        "pad_id": PAD_ID,
        "preprocess": [
            {"step": "resize", "height": size, "width": size, "interpolation": "bicubic"},
            {"step": "rescale", "factor": 1 / 255},
            {"step": "normalize", "mean": [content["mean"]] * 3, "std": [content["std"]] * 3},
        ],
        "scoring": {"rule": "softmax_pair", "scale": scale or UNFITTED_SCALE},
        "templates": {"positive": ["{}"], "negative": ["no {}"]},
        "labels": facts.get("labels") or content["labels"],
        "license": facts.get("license"),
        "intended_use": facts.get("intended_use"),
        "training_data": facts.get("training_data"),
        "results": [],
        "provenance": provenance,
        "patch_embeds": {"height": grid[0], "width": grid[1]} if grid else None,
        "files": files,
    }


def _versions() -> dict[str, str]:
    packages = ("torch", "open_clip_torch", "timm", "onnx", "tokenizers", "numpy", "pillow")
    return {"cxrzero": __version__, "python": platform.python_version()} | {p: metadata.version(p) for p in packages}


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
