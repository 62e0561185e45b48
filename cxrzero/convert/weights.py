"""Files of weights from strangers → a state dict. Nothing in them is executed."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrzero.convert.shards import is_index, read_index
from cxrzero.convert.standins import stand_ins
from cxrzero.errors import ImportModelError, NoInputError

StateDict = dict[str, Tensor]

# How a Git LFS pointer begins: what a clone without `git lfs pull` leaves instead of the weights.
LFS_POINTER = b"version https://git-lfs"
# Under these keys training loops keep the model beside optimiser and counters.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
MAX_DEPTH = 5  # dicts within dicts; a file can hold one that holds itself
# What torch's unpickler raises for bytes that make no sense; what it refuses has an error of its own.
DAMAGED = (
    *(RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, MemoryError, struct.error, zipfile.BadZipFile),
)
# Sizes that OpenAI's files carry among the weights.
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def read_weights(path: Path) -> StateDict:
    """Read a file's one state dict, whatever it is wrapped in.

    Returns:
        Floating-point tensors as float32 on the CPU; a file in half precision is widened, which is exact.

    Raises:
        NoInputError: there is no such file.
        ImportModelError: it is truncated, a Git LFS pointer, holds code, or holds no weights.
    """
    return widened(unwrap(read_file(path), path))


def read_file(path: Path) -> Any:
    """What a file of weights holds, as it stands there: tensors, in dicts, among scalars and stand-ins.

    Of an index, the tensors of the files that it names.

    Raises: as `read_weights`, but that it need not hold weights.
    """
    if is_index(path):
        return _read_shards(path)
    return _read_safetensors(path) if _begins_like_safetensors(path) else _read_torch(path)


def widened(state: Mapping[str, Tensor]) -> StateDict:
    """The same numbers as float32; what is no floating point stays."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _read_shards(index: Path) -> dict[str, Any]:
    """The tensors of all files that an index names; whatever else a file holds is not looked at."""
    places = read_index(index)
    found: dict[str, Any] = {}
    for file in sorted(set(places.values())):
        tensors = unwrap(read_file(file), file)
        found |= {name: value for name, value in tensors.items() if places.get(name) == file}
    if missing := sorted(places.keys() - found.keys()):
        raise ImportModelError(f"{places[missing[0]]} does not hold {missing[0]}, which {index.name} has there")
    return found


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
    members = _members(path)
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in members):
        raise ImportModelError(
            f"{path} is a TorchScript archive, which carries code and is not opened; save its state_dict() with "
            "torch.save where you trust the file, and import that"
        )
    if members and not any(name.endswith("/data.pkl") for name in members):
        raise ImportModelError(f"{path} is a ZIP archive of other files; unpack it, and give the file of weights in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols that it may not understand: then it raises
            with stand_ins():
                # Mapped, not read: of a large model the tensors become its weights as they are. Before version 1.6 of
                # torch a file was one pickle, and no archive.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # What else torch says is advice on how to run the file all the same.
        found = re.search(r"unsupported (?:global: )?\w+ [\w.]+", str(error), re.IGNORECASE)
        reason = f" ({found[0]})" if found else ""
        raise ImportModelError(
            f"{path} holds more than weights, or is damaged; nothing in it was run{reason}. "
            "Save its state_dict() alone where you trust the file"
        ) from error
    except DAMAGED as error:
        raise ImportModelError(
            f"{path} is not a whole PyTorch file ({type(error).__name__}); fetch it again"
        ) from error


def _members(path: Path) -> list[str]:
    """Names in a ZIP archive, which torch's own files are too; [] for any other file."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def unwrap(content: Any, path: Path) -> StateDict:
    """The one state dict that training loops wrap; without the sizes that OpenAI's files carry.

    Raises:
        ImportModelError: there is none.
    """
    for _ in range(MAX_DEPTH):
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in WRAPPERS if isinstance(dict.get(content, key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise ImportModelError(f"{path} holds a {type(content).__name__}, not a state dict")
    tensors = own_tensors(content)
    for name in NOT_WEIGHTS:
        tensors.pop(name, None)
    if not tensors:
        raise ImportModelError(f"{path} holds no weights")
    return tensors


def own_tensors(content: dict[Any, Any]) -> StateDict:
    """A dict's own tensors, without what wrappers of a model write before every name."""
    tensors = {str(name): value for name, value in dict.items(content) if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
