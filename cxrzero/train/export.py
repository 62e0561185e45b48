"""From a run's kept checkpoints to a model bundle in the same folder, and to an ensemble of bundles."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from cxrzero.bundle import IMAGE_ENCODER, MODEL_JSON, SCHEMA_VERSION, TEXT_ENCODER, TOKENIZER
from cxrzero.errors import TrainingError, UsageError
from cxrzero.train import checkpoint
from cxrzero.train.config import TrainConfig
from cxrzero.train.onnx_export import ExportedModel, export_onnx
from cxrzero.train.runfolder import ENSEMBLE, RunFolder, versions
from cxrzero.train.start import Start

CARD_KEYS = ("name", "labels", "license", "intended_use", "training_data")
# The paper's rule p = e^cos⁺ / (e^cos⁺ + e^cos⁻), where there was nothing to fit a scale on.
UNFITTED_SCALE = 1.0


def export_run(folder: RunFolder, start: Start, config: TrainConfig) -> None:
    """Write the bundle of a run's best checkpoint, and of its best `config.ensemble` into ensemble/.

    Args:
        start: the run's model (its weights are replaced), tokenizer and sizes.
        config: names the card: a JSON file with any of the facts CARD_KEYS; what it lacks is null in the bundle.

    Raises:
        TrainingError: there is no usable checkpoint, or the exported model does not answer like the trained one.
        UsageError: the card cannot be read.
    """
    if not folder.last.exists():
        raise TrainingError(f"{folder.path} has no checkpoint: no epoch was finished there")
    facts = _read_card(config.card)
    best = checkpoint.load(folder.last)["best"]
    name = facts.get("name") or folder.path.resolve().name
    shutil.rmtree(folder.path / ENSEMBLE, ignore_errors=True)
    for place, kept in enumerate(best[: config.ensemble], 1):
        member = folder.path / ENSEMBLE / f"{place:02}-step-{kept['step']}"
        member.mkdir(parents=True)
        _write_bundle(member, folder.checkpoint(kept["file"]), start, facts | {"name": f"{name}-{kept['step']}"})
    _write_bundle(folder.path, folder.checkpoint(best[0]["file"]), start, facts | {"name": name})


def _write_bundle(target: Path, weights: Path, start: Start, facts: dict[str, Any]) -> None:
    content = checkpoint.load(weights)
    model = start.model.cpu().eval()
    model.load_state_dict(content["model"])
    exported = export_onnx(model, start.arch["vision_cfg"], start.image_size, start.context_length)
    assert start.tokenizer is not None
    files = {
        IMAGE_ENCODER: exported.image_encoder,
        TEXT_ENCODER: exported.text_encoder,
        TOKENIZER: start.tokenizer.to_str(pretty=True).encode(),
    }
    # model.json last: a folder without it is not a bundle, and with the old one its hashes would not fit.
    (target / MODEL_JSON).unlink(missing_ok=True)
    for name, data in files.items():
        _replace(target / name, data)
    described = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    card = _describe(content, facts, exported, start) | {"files": described}
    _replace(target / MODEL_JSON, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())


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


def _describe(content: dict[str, Any], facts: dict[str, Any], exported: ExportedModel, start: Start) -> dict[str, Any]:
    """The content of model.json. A fact that nobody stated is null."""
    arch, scale, grid = content["arch"], content["scale"], exported.patch_grid
    provenance = content["provenance"] | {"versions": versions()}
    provenance["recipe"] |= {"scoring_scale": "fitted on held-out rows" if scale else "not fitted"}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": facts["name"],
        "architecture": arch["architecture"],
        "embed_dim": arch["embed_dim"],
        "image_size": [start.image_size, start.image_size],
        "context_length": start.context_length,
        "pad_id": start.pad_id,
        "preprocess": content["preprocess"],
        "scoring": {"rule": "softmax_pair", "scale": scale or UNFITTED_SCALE},
        "templates": {"positive": ["{}"], "negative": ["no {}"]},
        "labels": facts.get("labels") or content["labels"],
        "license": facts.get("license"),
        "intended_use": facts.get("intended_use"),
        "training_data": facts.get("training_data"),
        "results": [],
        "provenance": provenance,
        "patch_embeds": {"height": grid[0], "width": grid[1]} if grid else None,
    }


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
