"""Where a run starts: an architecture, its weights, its preprocessing and its tokenizer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from tokenizers import Tokenizer
from torch import nn

from cxrzero.clip.architecture import Arch, build_model, learns_tokenizer, load_arch
from cxrzero.clip.steps import chexzero_steps
from cxrzero.clip.tokenizer import PAD_ID, clip_tokenizer
from cxrzero.convert import load_model
from cxrzero.convert.lineage import OPEN_CLIP
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.towers import AttentionTowers
from cxrzero.errors import UsageError
from cxrzero.files import sha256_of, sha256_of_tree
from cxrzero.model.model_json import TOKENIZER
from cxrzero.registry.folder import is_bundle
from cxrzero.registry.origin import find_origin
from cxrzero.registry.trainingrun import RUN_JSON
from cxrzero.train.data.pixels import stretched
from cxrzero.train.data.words import LearnableWords
from cxrzero.train.model import checkpoint
from cxrzero.train.model.layers import blocks_above
from cxrzero.train.model.transformers_clip import TransformersCLIP
from cxrzero.train.model.weights import freeze_tower, linear_projection
from cxrzero.train.options import DEFAULT_ARCH, TrainOptions
from cxrzero.train.recipes import RECIPES
from cxrzero.train.runfolder import RunFolder

MINI_LR, SCRATCH_LR, INIT_LR = 1e-3, 5e-4, 5e-5
SIGMOID_SCALE = math.log(10.0)  # SigLIP's start (Zhai et al. 2023, section 3.2), as a logarithm
# Not SigLIP's −10, made for one true text in a batch of 32,768: here several texts of a batch are true of an image.
SIGMOID_BIAS = -1.0
BORROWED = "built_elsewhere"  # in an Arch: it describes a model and cannot build one


@dataclass(frozen=True)
class Start:
    """A model before its first step.

    Attributes:
        arch: open_clip's configuration; with BORROWED, what there is instead.
        steps: preprocessing; without `rescale` and what follows, these are measured from the data.
        tokenizer: None = learned from the run's texts.
        words: that such a tokenizer was learned from; None = it was not learned here.
        source: sha256 of the file that the weights came from; None = random.
        lr: peak learning rate where the user states none.
    """

    arch: Arch
    model: CustomTextCLIP | TransformersCLIP
    steps: list[dict[str, Any]]
    tokenizer: Tokenizer | None
    source: str | None
    lr: float
    pad_id: int = PAD_ID
    words: LearnableWords | None = None

    @property
    def image_size(self) -> int:
        return int(self.arch["vision_cfg"]["image_size"])

    @property
    def context_length(self) -> int:
        return int(self.arch["text_cfg"].get("context_length", 77))


def make_start(options: TrainOptions) -> Start:
    """Build the model of a run; random weights come from `config.seed`.

    Raises:
        UsageError: the architecture is unknown, `init` does not fit it, or an option needs what its image tower lacks.
        AmbiguousModelError: a file of weights does not say whose preprocessing belongs to it.
        ImportModelError, TrainingError: `init` cannot be read, or its weights do not fit.
    """
    torch.manual_seed(options.seed)
    start = _from_scratch(options) if options.init is None else _from_init(options, options.init)
    if options.first_size is not None:
        _check_reads(start, options.first_size)
    if options.freeze is not None:
        if options.init is None:
            raise UsageError(f"freeze {options.freeze}: random weights would stay random; give --init")
        freeze_tower(start.model, options.freeze)
    if options.layer_decay != 1:
        blocks_above(start.model.visual)  # refused before anything is decoded
    if options.alike is not None or options.refit:
        linear_projection(start.model)
    if options.loss == "sigmoid":
        _give_bias(start, scratch=options.init is None)
    start.model.to(memory_format=torch.channels_last)
    return start


def _check_reads(start: Start, side: int) -> None:
    """Image towers with positions learned for one size cannot read another."""
    if side > start.image_size:
        raise UsageError(f"first_size {side} is larger than the model's {start.image_size} pixels")
    try:
        with torch.no_grad():
            start.model.eval().encode_image(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        name = start.arch["architecture"]
        raise UsageError(f"first_size {side}: {name} reads {start.image_size} pixels only; leave it out") from error
    start.model.train()


def _give_bias(start: Start, scratch: bool) -> None:
    """What the sigmoid loss needs beside a scale; a model that was trained with it has it already."""
    model = start.model
    if model.logit_bias is None:
        start.arch["init_logit_bias"] = SIGMOID_BIAS
        model.logit_bias = nn.Parameter(torch.tensor(SIGMOID_BIAS))
    if scratch:
        with torch.no_grad():
            model.logit_scale.fill_(SIGMOID_SCALE)


def _from_scratch(options: TrainOptions) -> Start:
    arch = load_arch(options.arch or DEFAULT_ARCH, options.image_size)
    learned = learns_tokenizer(arch)
    return Start(
        arch=arch,
        model=build_model(arch),
        steps=_steps(options, arch),
        tokenizer=None if learned else clip_tokenizer(),
        source=None,
        lr=MINI_LR if learned else SCRATCH_LR,
    )


def _from_init(options: TrainOptions, init: Path) -> Start:
    if (init / RUN_JSON).is_file():
        return _from_run(options, RunFolder(init))
    if is_bundle(init):
        _check_untold(options, init, "a bundle")
        origin = find_origin(init)
        return _from_published(options, origin.path, origin.lineage, origin.arch)
    if init.is_dir():
        _check_untold(options, init, "a folder")
        return _from_published(options, init, None, None)
    if not init.is_file():
        raise UsageError(
            f"--init {init}: neither a run folder (with {RUN_JSON}), a bundle, a model folder nor a file of weights"
        )
    lineage = options.lineage
    if lineage is None and options.preprocess is not None and options.arch is not None:
        lineage = OPEN_CLIP.name  # preprocessing and activation are both stated, so nothing is left open
    return _from_published(options, init, lineage, options.arch)


def _check_untold(options: TrainOptions, init: Path, kind: str) -> None:
    """Options that say what `init` says itself are refused; those of a recipe give way."""
    recipe_arch = RECIPES[options.recipe].get("arch")
    for option, stated in (("--as", options.lineage), ("--arch", options.arch)):
        if stated is not None and stated != recipe_arch:
            raise UsageError(f"--init {init} is {kind}, which says itself what it is; leave out {option}")


def _from_published(options: TrainOptions, source: Path, lineage: str | None, arch_name: str | None) -> Start:
    """Published weights with their lineage's preprocessing and tokenizer, as `cxrzero models import` reads them."""
    loaded = load_model(source, lineage, arch_name)
    if isinstance(loaded.towers, AttentionTowers):
        raise UsageError(
            f"--init {source} scores by attention, and what is trained here are two encoders: choose another"
        )
    if loaded.model is None:
        raise UsageError(f"--init {source}: a {loaded.lineage} model answers questions, and cannot be trained on")
    size = loaded.image_size[0]
    if loaded.image_size != (size, size) or options.image_size not in (None, size):
        raise UsageError(f"--init {source}: its images are {loaded.image_size} pixels; leave --image-size out")
    model = loaded.model if isinstance(loaded.model, CustomTextCLIP) else TransformersCLIP(loaded.model)
    arch: Arch = {"name": loaded.architecture} | (loaded.arch or _described(loaded))
    return Start(
        arch=arch,
        model=model.train(),
        steps=loaded.preprocess if options.preprocess is None else _steps(options, arch),
        tokenizer=loaded.tokenizer,
        source=sha256_of_tree(source),
        lr=INIT_LR,
        pad_id=loaded.pad_id,
    )


def _described(loaded: LoadedModel) -> Arch:
    """What the run has to know of a model that no configuration of open_clip can build."""
    return {
        "architecture": loaded.architecture,
        "embed_dim": loaded.embed_dim,
        "vision_cfg": {"image_size": loaded.image_size[0]},
        "text_cfg": {"context_length": loaded.context_length},
        BORROWED: True,
    }


def _from_run(options: TrainOptions, folder: RunFolder) -> Start:
    """The best weights of another run, with its preprocessing and tokenizer."""
    last = checkpoint.load(folder.last)
    if not last["best"]:
        raise UsageError(f"--init {folder.path}: that run has no finished epoch yet")
    file = folder.checkpoint(last["best"][0]["file"])
    weights = checkpoint.load(file)
    arch: Arch = weights["arch"]
    if arch.get(BORROWED):
        raise UsageError(f"--init {folder.path}: that run began with a model folder; start from that folder again")
    if options.arch not in (None, arch["name"], RECIPES[options.recipe].get("arch")) or options.lineage is not None:
        raise UsageError(f"--init {folder.path} is a run of {arch['name']}; leave out --arch and --as")
    if options.image_size not in (None, arch["vision_cfg"]["image_size"]):
        raise UsageError(f"--init {folder.path}: image_size must stay {arch['vision_cfg']['image_size']}")
    model = build_model(arch)
    model.load_state_dict(weights["model"])
    tokenizer = Tokenizer.from_file(str(folder.path / TOKENIZER))
    steps = weights["preprocess"] if options.preprocess is None else _steps(options, arch)
    return Start(arch, model, steps, tokenizer, sha256_of(file), INIT_LR)


def _steps(options: TrainOptions, arch: Arch) -> list[dict[str, Any]]:
    size = int(arch["vision_cfg"]["image_size"])
    return chexzero_steps(size) if options.preprocess == "chexzero" else stretched(size)
