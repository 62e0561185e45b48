"""Where a run starts: an architecture, its weights, its preprocessing and its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP, convert_to_custom_text_state_dict
from tokenizers import Tokenizer
from torch import nn

from cxrzero.bundle import TOKENIZER, sha256_of
from cxrzero.clip.architecture import Arch, build_model, learns_tokenizer, load_arch
from cxrzero.clip.steps import chexzero_steps
from cxrzero.clip.tokenizer import PAD_ID, clip_tokenizer
from cxrzero.convert import load_model
from cxrzero.errors import TrainingError, UsageError
from cxrzero.train import checkpoint
from cxrzero.train.config import TrainConfig
from cxrzero.train.model import freeze_tower
from cxrzero.train.pixels import stretched
from cxrzero.train.runfolder import RUN_JSON, RunFolder

MINI_LR, SCRATCH_LR, INIT_LR = 1e-3, 5e-4, 5e-5
BORROWED = "built_elsewhere"  # in an Arch: it describes a model and cannot build one
SHOWN = 10  # keys of a state dict that an error message lists


@dataclass(frozen=True)
class Start:
    """A model before its first step.

    Attributes:
        arch: open_clip's configuration.
        steps: preprocessing; without `rescale` and what follows, these are measured from the data.
        tokenizer: None = learned from the run's texts.
        source: sha256 of the file that the weights came from; None = random.
        lr: peak learning rate where the user states none.
    """

    arch: Arch
    model: CustomTextCLIP
    steps: list[dict[str, Any]]
    tokenizer: Tokenizer | None
    source: str | None
    lr: float
    pad_id: int = PAD_ID

    @property
    def image_size(self) -> int:
        return int(self.arch["vision_cfg"]["image_size"])

    @property
    def context_length(self) -> int:
        return int(self.arch["text_cfg"].get("context_length", 77))


def make_start(config: TrainConfig) -> Start:
    """Build the model of a run; random weights come from `config.seed`.

    Raises:
        UsageError: the architecture is unknown, or `init` does not fit it.
        TrainingError: `init` cannot be read.
    """
    torch.manual_seed(config.seed)
    start = _from_scratch(config) if config.init is None else _from_init(config, config.init)
    if config.freeze is not None:
        if config.init is None:
            raise UsageError(f"freeze {config.freeze}: random weights would stay random; give --init")
        freeze_tower(start.model, config.freeze)
    start.model.to(memory_format=torch.channels_last)
    return start


def _from_scratch(config: TrainConfig) -> Start:
    arch = load_arch(config.arch, config.image_size)
    learned = learns_tokenizer(arch)
    return Start(
        arch=arch,
        model=build_model(arch),
        steps=_steps(config, arch),
        tokenizer=None if learned else clip_tokenizer(),
        source=None,
        lr=MINI_LR if learned else SCRATCH_LR,
    )


def _from_init(config: TrainConfig, init: Path) -> Start:
    if (init / RUN_JSON).is_file():
        return _from_run(config, RunFolder(init))
    if init.is_dir():
        return _from_folder(config, init)
    if not init.is_file():
        raise UsageError(f"--init {init}: neither a run folder (with {RUN_JSON}), a model folder nor a file of weights")
    arch = load_arch(config.arch, config.image_size)
    if learns_tokenizer(arch):
        raise UsageError(f"--init {init}: say with --arch which of open_clip's architectures these weights are for")
    model = build_model(arch)
    _load(model, _read_weights(init), init)
    return Start(arch, model, _steps(config, arch), clip_tokenizer(), sha256_of(init), INIT_LR)


def _from_folder(config: TrainConfig, folder: Path) -> Start:
    """A model folder in open_clip's format: it brings its preprocessing and its tokenizer."""
    loaded = load_model(folder)
    if not isinstance(loaded.model, CustomTextCLIP):
        raise UsageError(f"--init {folder}: transformers' models cannot be trained on; give an open_clip folder")
    size = loaded.image_size[0]
    if loaded.image_size != (size, size) or config.image_size not in (None, size):
        raise UsageError(f"--init {folder}: its images are {loaded.image_size} pixels; leave --image-size out")
    arch: Arch = {
        "name": folder.resolve().name,
        "architecture": loaded.architecture,
        "embed_dim": loaded.embed_dim,
        "vision_cfg": {"image_size": size},
        "text_cfg": {"context_length": loaded.context_length},
        BORROWED: True,
    }
    steps = loaded.preprocess if config.preprocess is None else _steps(config, arch)
    model = loaded.model.train()
    return Start(arch, model, steps, loaded.tokenizer, folder_sha256(folder), INIT_LR, loaded.pad_id)


def folder_sha256(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{path.name}\x1f{sha256_of(path)}\x1e".encode())
    return digest.hexdigest()


def _from_run(config: TrainConfig, folder: RunFolder) -> Start:
    """The best weights of another run, with its preprocessing and tokenizer."""
    last = checkpoint.load(folder.last)
    if not last["best"]:
        raise UsageError(f"--init {folder.path}: that run has no finished epoch yet")
    file = folder.checkpoint(last["best"][0]["file"])
    weights = checkpoint.load(file)
    arch: Arch = weights["arch"]
    if arch.get(BORROWED):
        raise UsageError(f"--init {folder.path}: that run began with a model folder; start from that folder again")
    if config.image_size not in (None, arch["vision_cfg"]["image_size"]):
        raise UsageError(f"--init {folder.path}: image_size must stay {arch['vision_cfg']['image_size']}")
    model = build_model(arch)
    _load(model, weights["model"], file)
    tokenizer = Tokenizer.from_file(str(folder.path / TOKENIZER))
    steps = weights["preprocess"] if config.preprocess is None else _steps(config, arch)
    return Start(arch, model, steps, tokenizer, sha256_of(file), INIT_LR)


def _steps(config: TrainConfig, arch: Arch) -> list[dict[str, Any]]:
    size = int(arch["vision_cfg"]["image_size"])
    return chexzero_steps(size) if config.preprocess == "chexzero" else stretched(size)


def _read_weights(path: Path) -> dict[str, Any]:
    """A state dict, whatever it is wrapped in."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise TrainingError(f"{path} cannot be read: {error}") from error
    content = checkpoint.load(path)
    state = content.get("state_dict", content)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _load(model: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    known = model.state_dict()
    given = dict(convert_to_custom_text_state_dict(dict(weights)))
    for constant in ("input_resolution", "context_length", "vocab_size"):  # of OpenAI's files: no weights
        given.pop(constant, None)
    shapes = [n for n in given if n in known and given[n].shape != known[n].shape]
    wrong = [f"missing {n}" for n in known.keys() - given.keys()]
    wrong += [f"unexpected {n}" for n in given.keys() - known.keys()] + [f"another shape {n}" for n in shapes]
    if wrong:
        listed = ", ".join(sorted(wrong)[:SHOWN])
        raise UsageError(f"{path} does not fit the architecture ({len(wrong)} differences: {listed}); see --arch")
    model.load_state_dict(given)
