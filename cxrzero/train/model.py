"""Builds the model of a run from an architecture file: open_clip's CustomTextCLIP with a timm image tower."""

from __future__ import annotations

import difflib
import json
import logging
import math
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP

from cxrzero.errors import UsageError
from cxrzero.train.vocabulary import END_ID, PAD_ID

MAX_LOGIT_SCALE = math.log(100)  # CLIP section 2.5: larger scales make training unstable

Arch = dict[str, Any]


def load_arch(name: str, image_size: int | None = None) -> Arch:
    """Read an architecture by packaged name or path.

    Args:
        name: e.g. "cxrzero-mini", or a path that ends in .json.
        image_size: replaces the architecture's own; pixels.

    Raises:
        UsageError: there is no such architecture (near names are offered), or the file is not one.
    """
    folder = resources.files("cxrzero.train") / "archs"
    known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    if name in known:
        text = (folder / f"{name}.json").read_text("utf-8")
    elif name.endswith(".json") and Path(name).is_file():
        text = Path(name).read_text("utf-8")
    else:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise UsageError(f"there is no architecture {name!r}; did you mean {' or '.join(near)}? (or give a .json file)")
    try:
        arch: Arch = json.loads(text)
        vision, words = arch["vision_cfg"], arch["text_cfg"]
        if image_size is not None:
            vision["image_size"] = image_size
        if (words["pad_id"], words["eos_id"], words["pool_type"]) != (PAD_ID, END_ID, "eos"):
            raise UsageError(f"{name}: text_cfg needs pad_id {PAD_ID}, eos_id {END_ID} and pool_type 'eos'")
        for key in ("architecture", "embed_dim"):
            arch[key]
        for section, key in ((vision, "image_size"), (words, "context_length"), (words, "vocab_size")):
            section[key]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{name} is not an architecture file: {error!r}") from error
    return arch


def build_model(arch: Arch) -> CustomTextCLIP:
    """A model with random weights (from torch's global generator).

    Raises:
        UsageError: open_clip or timm does not know what the architecture asks for.
    """
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        model = CustomTextCLIP(arch["embed_dim"], arch["vision_cfg"], arch["text_cfg"])
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"the architecture {arch['architecture']!r} cannot be built: {error}") from error
    # open_clip's text configuration cannot ask for it; without it [PAD] would take part in attention.
    model.text.use_pad_mask = True
    return model


def weight_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for AdamW: decay on matrices and kernels, none on biases, norms, scales and embeddings."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in parameters if p.ndim < 2 or "embedding" in name]
    decayed = [p for name, p in parameters if not (p.ndim < 2 or "embedding" in name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
