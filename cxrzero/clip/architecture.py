"""Architectures by name, ours and open_clip's, and the models that they describe: open_clip's CustomTextCLIP."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import CustomTextCLIP

from cxrzero.clip.fold import fold_batch_norms
from cxrzero.clip.tokenizer import CLIP_VOCABULARY, END_ID, PAD_ID
from cxrzero.errors import MissingExtraError, UsageError
from cxrzero.outside.offline import offline

Arch = dict[str, Any]

_FOLDER = resources.files("cxrzero.clip") / "archs"
# What an open_clip configuration may ask for beside the towers.
EXTRAS = ("quick_gelu", "init_logit_scale", "init_logit_bias")
# Ours: the image tower is built without batch norms, each folded into the convolution before it.
FOLDED = "fold_batch_norms"


def load_arch(name: str, image_size: int | None = None) -> Arch:
    """Read an architecture by the name of one of ours or of open_clip's, or by path.

    Args:
        name: e.g. "cxrzero-mini", "ViT-B-32-quickgelu", or a path that ends in .json.
        image_size: replaces the architecture's own; pixels.

    Returns:
        open_clip's configuration with `name` and `architecture` (a description) added; the name of a file is its
        description, since a path may say anything.

    Raises:
        UsageError: there is no such architecture (near names are offered), or the file is not one.
    """
    ours = _ours()
    if name in ours:
        arch = _parse(name, (_FOLDER / f"{name}.json").read_text("utf-8"))
    elif name.endswith(".json") and Path(name).is_file():
        arch = _parse(name, Path(name).read_text("utf-8"))
        arch["name"] = arch["architecture"]
    elif name in open_clip.list_models():
        arch = {"architecture": f"open_clip {name}"} | open_clip.get_model_config(name)
        _check_tokenizer(name, arch)
    else:
        known = [*ours, *open_clip.list_models()]
        near = _near(name, known) or ours
        raise UsageError(f"there is no architecture {name!r}; did you mean {' or '.join(near)}? (or give a .json file)")
    arch.setdefault("name", name)
    if image_size is not None:
        arch["vision_cfg"]["image_size"] = image_size
    if not isinstance(arch["vision_cfg"]["image_size"], int):
        raise UsageError(f"{name} takes pictures that are not square; give --image-size")
    return arch


def is_named(name: str) -> bool:
    """Whether it is a name of ours or of open_clip's, and no path."""
    return name in _ours() or name in open_clip.list_models()


def _ours() -> list[str]:
    return sorted(entry.name.removesuffix(".json") for entry in _FOLDER.iterdir() if entry.name.endswith(".json"))


def learns_tokenizer(arch: Arch) -> bool:
    """Whether the run learns its own tokenizer; otherwise it is CLIP's."""
    return bool(arch["text_cfg"].get("eos_id") == END_ID)


@offline
def build_model(arch: Arch) -> CustomTextCLIP:
    """A model with random weights (from torch's global generator).

    Raises:
        UsageError: open_clip or timm does not know what the architecture asks for, or would have to fetch it; or it
            asks for folded batch norms where one cannot be folded.
    """
    logging.getLogger("timm").setLevel(logging.ERROR)
    vision = dict(arch["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False  # never a download
    extras = {key: arch[key] for key in EXTRAS if key in arch}
    try:
        with _no_code_of_others() if "hf_model_name" in arch["text_cfg"] else nullcontext():
            model = CustomTextCLIP(arch["embed_dim"], vision, dict(arch["text_cfg"]), **extras)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(f"the architecture {arch['architecture']!r} cannot be built: {error}") from error
    except OSError as error:  # huggingface_hub's, which advises to let it fetch
        raise UsageError(
            f"the architecture {arch['architecture']!r} names a tower that is not here, and nothing is fetched: take "
            "one that open_clip or timm builds itself, or keep a local copy in the Hugging Face cache"
        ) from error
    if learns_tokenizer(arch):
        # open_clip's text configuration cannot ask for it; without it [PAD] would take part in attention.
        model.text.use_pad_mask = True
    if arch.get(FOLDED):
        fold_batch_norms(model.visual)
    return model


@contextmanager
def _no_code_of_others() -> Iterator[None]:
    """Left alone, transformers asks in the terminal whether to run code that a configuration brings; here it refuses.

    Raises:
        UsageError: the configuration is none without its code.
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import dynamic_module_utils
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # seconds to answer in; without any it does not ask
    try:
        yield
    except ValueError as error:
        if "custom code" not in str(error):
            raise
        raise UsageError(
            "its configuration brings a text tower as code of its own, which is not run; transformers' own are"
        ) from error
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _parse(name: str, text: str) -> Arch:
    try:
        arch: Arch = json.loads(text)
        words = arch["text_cfg"]
        if "eos_id" not in words:
            _check_tokenizer(name, arch)
        elif (words["pad_id"], words["eos_id"], words["pool_type"]) != (PAD_ID, END_ID, "eos"):
            raise UsageError(f"{name}: text_cfg needs pad_id {PAD_ID}, eos_id {END_ID} and pool_type 'eos'")
        for key in ("architecture", "embed_dim"):
            arch[key]
        for section, key in ((arch["vision_cfg"], "image_size"), (words, "context_length"), (words, "vocab_size")):
            section[key]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{name} is not an architecture file: {error!r}") from error
    return arch


def _check_tokenizer(name: str, arch: Arch) -> None:
    """Only text towers over CLIP's own vocabulary can be trained from nothing but a name."""
    words = arch["text_cfg"]
    foreign = {"hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs"} & set(words)
    if foreign or "multimodal_cfg" in arch or words.get("vocab_size", CLIP_VOCABULARY) != CLIP_VOCABULARY:
        raise UsageError(
            f"{name} needs a text tower or tokenizer that open_clip fetches from elsewhere; start from its weights "
            "with --init, or choose an architecture over CLIP's own vocabulary, such as ViT-B-32-quickgelu"
        )


def _near(name: str, known: list[str]) -> list[str]:
    folded = {other.lower().replace("/", "-"): other for other in known}
    found = difflib.get_close_matches(name.lower().replace("/", "-"), list(folded), n=3, cutoff=0.5)
    return [folded[other] for other in found]
