"""Files of weights from strangers → a state dict. Nothing in them is executed."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrzero.errors import ImportModelError, NoInputError

StateDict = dict[str, Tensor]
Names = tuple[str, ...]

# How a Git LFS pointer begins: what a clone without `git lfs pull` leaves instead of the weights.
LFS_POINTER = b"version https://git-lfs"
# Under these keys training loops keep the model beside optimiser and counters.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
# What training loops keep beside the model, and copies of it. A dict of such a name is no part of the model.
BESIDE = re.compile(r"(?i)optim|sched|scaler|(^|_)ema(_|$)|averaged|config|args|hyper|callback|loops|rng")
MAX_DEPTH = 5  # dicts within dicts; a file can hold one that holds itself
# Sizes that OpenAI's files carry among the weights.
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Contents:
    """What a file of weights holds, as it was read.

    Attributes:
        weights: every state dict in it as one; where it holds several, each name begins with the key of its dict.
        ignored: keys beside them that are no part of a model, such as an optimiser's state.
    """

    path: Path
    content: Any
    weights: StateDict
    ignored: Names

    def main(self) -> StateDict:
        """The one state dict that training loops wrap, float32.

        Raises:
            ImportModelError: there is none.
        """
        return widened(_unwrap(self.content, self.path))


def read_contents(path: Path) -> Contents:
    """Read a .pt/.pth/.bin or .safetensors file, with every state dict in it.

    Raises:
        NoInputError: there is no such file.
        ImportModelError: it is truncated, a Git LFS pointer, or holds code.
    """
    content = _read_safetensors(path) if _begins_like_safetensors(path) else _read_torch(path)
    weights, ignored = _all_weights(content)
    return Contents(path, content, weights, ignored)


def read_weights(path: Path) -> StateDict:
    """Read a file's one state dict, whatever it is wrapped in.

    Returns:
        Floating-point tensors as float32 on the CPU; a file in half precision is widened, which is exact.

    Raises:
        NoInputError: there is no such file.
        ImportModelError: it is truncated, a Git LFS pointer, holds code, or holds no weights.
    """
    return read_contents(path).main()


def widened(state: Mapping[str, Tensor]) -> StateDict:
    """The same numbers as float32; what is no floating point stays."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _begins_like_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ImportModelError(f"{path} cannot be read: {error.strerror}") from error
    if start.startswith(LFS_POINTER):
        raise ImportModelError(
            f"{path} is a Git LFS pointer, a few lines of text in place of the weights; run git lfs pull in its "
            "repository, or download the file itself"
        )
    return path.suffix == ".safetensors" or start[8:9] == b"{"


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)  # checks every offset of the header against the file
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise ImportModelError(f"{path} is not a whole safetensors file: {error}; fetch it again") from error


def _read_torch(path: Path) -> Any:
    if _is_torchscript(path):
        raise ImportModelError(
            f"{path} is a TorchScript archive, which carries code and is not opened; save its state_dict() with "
            "torch.save where you trust the file, and import that"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that it may not understand: then it raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # What else torch says is advice on how to run the file all the same.
        found = re.search(r"unsupported (?:global: )?\w+ [\w.]+", str(error), re.IGNORECASE)
        reason = f" ({found[0]})" if found else ""
        raise ImportModelError(
            f"{path} holds more than weights, or is damaged; nothing in it was run{reason}. "
            "Save its state_dict() alone where you trust the file"
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, AttributeError, MemoryError) as error:
        raise ImportModelError(
            f"{path} is not a whole PyTorch file ({type(error).__name__}); fetch it again"
        ) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _unwrap(content: Any, path: Path) -> StateDict:
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise ImportModelError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = _tensors(content)
    for name in NOT_WEIGHTS:
        tensors.pop(name, None)
    if not tensors:
        raise ImportModelError(f"{path} holds no weights")
    return tensors


def _all_weights(content: Any, depth: int = 0) -> tuple[StateDict, Names]:
    """Every state dict in nested dicts as one, and the keys that were passed over."""
    if not isinstance(content, dict) or depth == MAX_DEPTH:
        return {}, ()
    own = _tensors(content)
    parts: dict[str, StateDict] = {"": own} if own else {}
    ignored: list[str] = []
    for key, value in content.items():
        if isinstance(value, Tensor):
            continue
        inner: StateDict = {}
        passed: Names = ()
        if key in WRAPPERS or not BESIDE.search(str(key)):
            inner, passed = _all_weights(value, depth + 1)
        ignored += [f"{key}.{name}" for name in passed] if inner else [str(key)]
        if inner:
            parts[f"{key}."] = inner
    if len(parts) == 1:
        return next(iter(parts.values())), tuple(ignored)
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}, tuple(ignored)


def _tensors(content: Mapping[Any, Any]) -> StateDict:
    """A dict's own tensors, without what wrappers of a model write before every name."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
