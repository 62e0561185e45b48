"""All that a file of weights, or a folder of such files, holds: its state dicts as one, and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrzero.convert.standins import plain
from cxrzero.convert.weights import MAX_DEPTH, WRAPPERS, StateDict, own_tensors, read_file
from cxrzero.errors import ImportModelError

SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".tar")
# What training loops keep beside the model, and copies of it: a dict under such a key is no part of the model.
BESIDE = re.compile(r"(?i)optim|sched|scaler|(^|_)ema(_|$)|averaged|config|args|hyper|callback|loops|rng")
FILES_BESIDE = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state)(_.*)?")
CONFIGS = re.compile(r"config|hyper_parameters|args|opt")
# Hugging Face's two forms of the same weights; a folder may have both.
PICKLED, SAFE = "pytorch_model", "model"


@dataclass(frozen=True)
class Contents:
    """What was found.

    Attributes:
        files: that the tensors were read from.
        weights: every state dict as one. Of several in a file, each name begins with the key of its dict; of several
            files only where names clash, with the name of the file.
        ignored: keys beside them that are no part of a model, such as an optimiser's state.
        config: the first configuration beside them, as dicts, lists and scalars; {} where there is none.
    """

    files: tuple[Path, ...]
    weights: StateDict
    ignored: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def contents_of(content: Any, path: Path) -> Contents:
    """What `read_file` gave, taken apart."""
    weights, ignored = _state_dicts(content)
    beside = [dict.get(content, key) for key in ignored if CONFIGS.fullmatch(key)] if isinstance(content, dict) else []
    config = next((found for each in beside if isinstance(found := plain(each), dict)), {})
    return Contents((path,), weights, ignored, config)


def read_folder(folder: Path) -> Contents:
    """All files of weights of a folder as one.

    Raises:
        ImportModelError: one of them cannot be read, or there is none.
    """
    found = [contents_of(read_file(path), path) for path in weight_files(folder)]
    if not found:
        raise ImportModelError(f"{folder} holds no file of weights ({', '.join(SUFFIXES)})")
    names = [name for each in found for name in each.weights]
    clash = len(set(names)) < len(names)
    weights: StateDict = {}
    for each in found:
        prefix = f"{each.files[0].stem}." if clash else ""
        weights |= {prefix + name: value for name, value in each.weights.items()}
    return Contents(
        tuple(each.files[0] for each in found),
        weights,
        tuple(key for each in found for key in each.ignored),
        next((each.config for each in found if each.config), {}),
    )


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, by name, without those of a training loop and second copies."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    files = [path for path in files if not FILES_BESIDE.fullmatch(path.stem) and not path.name.startswith(".")]
    safe = any(path.suffix == ".safetensors" and path.stem.startswith(SAFE) for path in files)
    return [path for path in files if not (safe and path.suffix == ".bin" and path.stem.startswith(PICKLED))]


def _state_dicts(content: Any, depth: int = 0, seen: set[int] | None = None) -> tuple[StateDict, tuple[str, ...]]:
    """Every state dict in nested dicts as one, and the keys that were passed over.

    Args:
        seen: dicts that were looked into: a file may hold one in many places, and in itself.
    """
    seen = set() if seen is None else seen
    if not isinstance(content, dict) or id(content) in seen or depth == MAX_DEPTH:
        return {}, ()
    seen.add(id(content))
    own = own_tensors(content)
    parts: dict[str, StateDict] = {"": own} if own else {}
    ignored: list[str] = []
    for key, value in dict.items(content):
        if isinstance(value, Tensor):
            continue
        inner: StateDict = {}
        passed: tuple[str, ...] = ()
        if key in WRAPPERS or not BESIDE.search(str(key)):
            inner, passed = _state_dicts(value, depth + 1, seen)
        ignored += [f"{key}.{name}" for name in passed] if inner else [str(key)]
        if inner:
            parts[f"{key}."] = inner
    if len(parts) == 1:
        return next(iter(parts.values())), tuple(ignored)
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}, tuple(ignored)
