"""Tensor shapes → architecture: what the weights themselves tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import open_clip
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn

from cxrzero.clip.architecture import Arch
from cxrzero.errors import AmbiguousModelError, ImportModelError

Module = TypeVar("Module", bound=nn.Module)

SHOWN = 10  # keys that a message lists
HEAD_WIDTH = 64  # of every CLIP transformer by OpenAI; the shapes do not tell it


def recognise(weights: Mapping[str, Tensor], quick_gelu: bool) -> Arch:
    """The configuration of a CLIP with two transformers in OpenAI's layout, in open_clip's words.

    Raises:
        ImportModelError: there is no text tower.
        AmbiguousModelError: another layout; --arch has to name it.
    """
    if not any(re.match(r"(text\.)?(token_embedding|transformer)\.", name) for name in weights):
        raise ImportModelError(
            "these weights have no text tower (no key begins with token_embedding, transformer or text.); "
            "an image-only model cannot answer questions in words"
        )
    weights = convert_to_custom_text_state_dict(dict(weights))
    try:
        words, positions = weights["text.token_embedding.weight"], weights["text.positional_embedding"]
        width = int(words.shape[1])
        arch: Arch = {
            "embed_dim": int(weights["text.text_projection"].shape[1]),
            "vision_cfg": vision_cfg(
                {name[7:]: value for name, value in weights.items() if name.startswith("visual.")}
            ),
            "text_cfg": {
                "context_length": int(positions.shape[0]),
                "vocab_size": int(words.shape[0]),
                "width": width,
                "heads": width // HEAD_WIDTH,
                "layers": _layers(weights, "text."),
            },
            "quick_gelu": quick_gelu,
        }
    except (KeyError, IndexError):
        raise AmbiguousModelError(
            "the architecture cannot be told from these weights; name it with --arch, in open_clip's spelling"
        ) from None
    name = _known_as(arch)
    arch["architecture"] = f"open_clip {name}" if name else _described(arch)
    return arch


def check_keys(model: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Compare a state dict with the model that it is for.

    Raises:
        ImportModelError: names the first SHOWN keys that are missing, unexpected or of another shape.
    """
    known = model.state_dict()
    wrong = [f"missing {name}" for name in known.keys() - weights.keys()]
    wrong += [f"unexpected {name}" for name in weights.keys() - known.keys()]
    wrong += [
        f"{name} has shape {tuple(weights[name].shape)}, needed is {tuple(known[name].shape)}"
        for name in known.keys() & weights.keys()
        if weights[name].shape != known[name].shape
    ]
    if wrong:
        raise ImportModelError(f"the weights do not fit {what}: {shortened(sorted(wrong))}")


def shortened(names: Sequence[str]) -> str:
    """The first SHOWN of them, and how many more there are."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def vision_cfg(visual: Mapping[str, Tensor]) -> dict[str, Any]:
    """The vision transformer of a CLIP in OpenAI's layout, in open_clip's words.

    Args:
        visual: its tensors, named without "visual.".

    Raises:
        KeyError: one of them is missing.
    """
    stem, places = visual["conv1.weight"], visual["positional_embedding"]
    side = round((places.shape[0] - 1) ** 0.5)
    return {
        "image_size": side * int(stem.shape[-1]),
        "patch_size": int(stem.shape[-1]),
        "width": int(stem.shape[0]),
        "layers": _layers(visual, ""),
        "head_width": HEAD_WIDTH,
    }


def exponentiated_scale(weights: Mapping[str, Tensor]) -> float:
    """exp(logit_scale), which a CLIP multiplies cosines with.

    Raises:
        ImportModelError: there is none, or it is not finite.
    """
    if "logit_scale" not in weights:
        raise ImportModelError("the weights have no logit_scale, which this lineage's scoring rule needs")
    scale = math.exp(float(weights["logit_scale"].reshape(-1)[0]))
    if not math.isfinite(scale):
        raise ImportModelError(f"logit_scale {scale} is not finite: the weights are damaged")
    return scale


def fill(module: Module, weights: Mapping[str, Tensor], what: str) -> Module:
    """Put tensors into a module, all of them and nothing else; in evaluation mode.

    They become its weights as they are, since a large model is not copied: those of a file stay mapped.

    Raises:
        ImportModelError: as `check_keys` does.
    """
    check_keys(module, weights, what)
    module.load_state_dict(dict(weights), assign=True)
    return module.eval()


def _layers(weights: Mapping[str, Tensor], tower: str) -> int:
    block = re.compile(rf"{re.escape(tower)}transformer\.resblocks\.(\d+)\.")
    return len({found[1] for name in weights if (found := block.match(name))})


def _known_as(arch: Arch) -> str | None:
    """open_clip's name of this configuration."""
    return next((n for n in open_clip.list_models() if _essence(open_clip.get_model_config(n)) == _essence(arch)), None)


def _essence(arch: Mapping[str, Any]) -> tuple[Any, ...]:
    vision, text = arch["vision_cfg"], arch["text_cfg"]
    keys = set(vision) - {"image_size", "layers", "width", "patch_size", "head_width"}
    keys |= set(text) - {"context_length", "vocab_size", "width", "heads", "layers"} | ({"custom_text"} & set(arch))
    return (
        *(vision.get(key) for key in ("image_size", "layers", "width", "patch_size")),
        vision.get("head_width", HEAD_WIDTH),
        *(text.get(key) for key in ("context_length", "vocab_size", "width", "heads", "layers")),
        arch["embed_dim"],
        bool(arch.get("quick_gelu", False)),
        *sorted(keys),
    )


def _described(arch: Arch) -> str:
    vision, text = arch["vision_cfg"], arch["text_cfg"]
    gelu = "QuickGELU" if arch["quick_gelu"] else "GELU"
    return (
        f"CLIP ViT {vision['layers']}x{vision['width']} patch {vision['patch_size']} at {vision['image_size']} px + "
        f"text transformer {text['layers']}x{text['width']}, {gelu}"
    )
