"""From a run's kept checkpoints to a model bundle in the same folder, and to an ensemble of bundles."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from tokenizers import Tokenizer

from cxrzero.choices import Notify, silent
from cxrzero.clip.architecture import learns_tokenizer
from cxrzero.convert.onnx_export import ExportedModel, example_ids, example_pixels, export_onnx
from cxrzero.convert.towers import open_clip_towers
from cxrzero.errors import ImportModelError, InexactExportError, TrainingError, UsageError
from cxrzero.files import cannot_write, software, write_json
from cxrzero.model.bundle import describe_files
from cxrzero.model.model_json import MODEL_JSON, TOKENIZER, schema_of
from cxrzero.train.model import checkpoint
from cxrzero.train.model.start import Start
from cxrzero.train.model.transformers_clip import TransformersCLIP
from cxrzero.train.options import TrainOptions
from cxrzero.train.provenance import arch_name, command_of, listed_labels, name_of, public_validation
from cxrzero.train.runfolder import ENSEMBLE, VERSIONED, RunFolder

CARD_KEYS = ("name", "labels", "license", "intended_use", "training_data")
# The paper's rule p = e^cos⁺ / (e^cos⁺ + e^cos⁻), where there was nothing to fit a scale on.
UNFITTED_SCALE = 1.0


def export_run(
    folder: RunFolder, start: Start, options: TrainOptions, learned: bool | None, notify: Notify = silent
) -> None:
    """Write the bundle of a run's best checkpoint, and of its best `options.ensemble` into ensemble/.

    Args:
        start: the run's model (its weights are replaced), tokenizer and sizes.
        options: names the card: a JSON file with any of the facts CARD_KEYS; what it lacks is null in the bundle.
        learned: whether a result is beyond luck; None where nothing tells.
        notify: is told of weights that cannot be stored in half precision.

    Raises:
        TrainingError: there is no usable checkpoint, or the exported model does not answer like the trained one.
        UsageError: the card cannot be read.
    """
    if not folder.last.exists():
        raise TrainingError(f"{folder.path} has no checkpoint: no epoch was finished there")
    told = _Told(options, _read_card(options.card), learned)
    best = checkpoint.load(folder.last)["best"]
    shutil.rmtree(folder.path / ENSEMBLE, ignore_errors=True)
    for place, kept in enumerate(best[: options.ensemble], 1):
        member = folder.path / ENSEMBLE / f"{place:02}-step-{kept['step']}"
        member.mkdir(parents=True)
        _write_bundle(member, folder.checkpoint(kept["file"]), start, told, notify, f"-{kept['step']}")
    _write_bundle(folder.path, folder.checkpoint(best[0]["file"]), start, told, notify)


@dataclass(frozen=True)
class _Told:
    """What a bundle says that is in no checkpoint.

    Attributes:
        card: the facts that the user states.
        learned: whether a result is beyond luck.
    """

    options: TrainOptions
    card: dict[str, Any]
    learned: bool | None


def _write_bundle(target: Path, weights: Path, start: Start, told: _Told, notify: Notify, suffix: str = "") -> None:
    """Write one checkpoint as a bundle; the suffix of its name tells the members of an ensemble apart."""
    content = checkpoint.load(weights)
    model = start.model.cpu().eval()
    model.load_state_dict(content["model"])
    assert start.tokenizer is not None
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=target) as folder:
        made = Path(folder)
        exported = _export(model.to(memory_format=torch.contiguous_format), start, start.tokenizer, made, notify)
        (made / TOKENIZER).write_text(start.tokenizer.to_str(pretty=True), encoding="utf-8", newline="\n")
        files = describe_files(made)
        card = {"schema_version": schema_of(files)} | _describe(content, told, exported, start) | {"files": files}
        card["name"] += suffix
        # model.json last: a folder without it is not a bundle, and with the old one its hashes would not fit.
        (target / MODEL_JSON).unlink(missing_ok=True)
        for path in made.iterdir():
            _move(path, target / path.name)
    write_json(target / MODEL_JSON, card)


def _move(path: Path, target: Path) -> None:
    """Once it is on the disk."""
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        path.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _export(
    model: CustomTextCLIP | TransformersCLIP, start: Start, tokenizer: Tokenizer, folder: Path, notify: Notify
) -> ExportedModel:
    pixels = example_pixels((start.image_size, start.image_size))
    ids = example_ids(tokenizer, start.context_length, start.pad_id)
    any_length = learns_tokenizer(start.arch)  # CLIP's causal towers read their whole context only
    towers = model.towers() if isinstance(model, TransformersCLIP) else open_clip_towers(model)
    export = partial(export_onnx, towers, pixels, ids, folder, any_length=any_length)
    try:
        return _in_half_or_whole(export, notify)
    except ImportModelError as error:
        raise TrainingError(str(error)) from error


def _in_half_or_whole(export: Callable[..., ExportedModel], notify: Notify) -> ExportedModel:
    """In half precision, or whole where rounding would move the embeddings too far, which is said."""
    try:
        return export(storage="float16")
    except InexactExportError as error:
        exported = export(storage="float32")
        notify(f"The weights are stored as float32, in twice the space: as float16, {error}.")
        return exported


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


def _describe(content: dict[str, Any], told: _Told, exported: ExportedModel, start: Start) -> dict[str, Any]:
    """The content of model.json. A fact that nobody stated is null, and nothing names a patient (`provenance`)."""
    arch, scale, grid = content["arch"], content["scale"], exported.patch_grid
    facts, kept = told.card, content["provenance"]
    # A checkpoint of an earlier version has texts among its labels, and the command as it was typed.
    provenance = {"command": command_of(told.options)} | {key: kept[key] for key in kept if key != "command"}
    provenance["validation"] = public_validation(kept["validation"])
    provenance["beyond_chance"] = told.learned
    provenance["recipe"] |= {"scoring_scale": "fitted on held-out rows" if scale else "not fitted"}
    provenance["recipe"]["arch"] = arch_name(arch)
    labels = facts["labels"] if "labels" in facts else list(listed_labels(dict.fromkeys(content["labels"])))
    named = {key: kept[key] for key in ("data_fingerprint", "init_sha256", "recipe", "seed")}
    named |= {key: kept[key] for key in ("refit", "alike") if kept.get(key) is not None}
    return {
        "name": facts.get("name") or name_of(arch, named),
        "architecture": arch["architecture"],
        "embed_dim": arch["embed_dim"],
        "image_size": [start.image_size, start.image_size],
        "context_length": start.context_length,
        "pad_id": start.pad_id,
        "preprocess": content["preprocess"],
        "scoring": {"rule": "softmax_pair", "scale": scale or UNFITTED_SCALE},
        "templates": {"positive": ["{}"], "negative": ["no {}"]},
        "labels": labels,
        "license": facts.get("license"),
        "intended_use": facts.get("intended_use"),
        "training_data": facts.get("training_data"),
        "results": [],
        "provenance": provenance | {"versions": software(VERSIONED)},
        "patch_embeds": {"height": grid[0], "width": grid[1]} if grid else None,
    }
