"""How deep in the image tower each of its weights is, counted in blocks from the head."""

from __future__ import annotations

import re
from typing import Any

from timm.models._manipulate import group_with_matcher
from torch import nn

from cxrzero.errors import UsageError

# The blocks of open_clip's vision transformer and of transformers' CLIP and SigLIP, and what is below the first.
BLOCK = re.compile(r"(?:transformer\.resblocks|model\.encoder\.layers)\.(\d+)\.")
STEM = re.compile(r"conv1|class_embedding|positional_embedding|ln_pre|model\.embeddings|model\.pre_layrnorm")
HEAD = "the head"  # a name that no trunk has: timm counts what it does not know as the head


def blocks_above(visual: nn.Module) -> dict[str, int]:
    """The blocks between each parameter of an image tower and the head: 0 in the last block and in the head.

    Returns:
        Name of the parameter in `visual` → number of blocks. The stem, below the first block, counts as a block.

    Raises:
        UsageError: the tower's blocks cannot be told apart.
    """
    names = [name for name, _ in visual.named_parameters()]
    trunk: Any = getattr(visual, "trunk", None)  # of open_clip's TimmModel
    layers = _of_timm(trunk, names) if hasattr(trunk, "group_matcher") else _of_transformer(names)
    last = max((layer for layer in layers.values() if layer is not None), default=0)
    if last < 1:
        raise UsageError(
            f"the blocks of this image tower ({type(trunk or visual).__name__}) cannot be told apart; leave "
            "--layer-decay out, or take a vision transformer, or a trunk whose blocks timm groups"
        )
    return {name: 0 if layer is None else last - layer for name, layer in layers.items()}


def _of_timm(trunk: Any, names: list[str]) -> dict[str, int | None]:
    """Name → layer from below, by timm's own rule for its trunks; None in the head."""
    inside = [name.removeprefix("trunk.") for name in names if name.startswith("trunk.")]
    layers = group_with_matcher(((name, None) for name in [*inside, HEAD]), trunk.group_matcher(), reverse=True)
    known = {f"trunk.{name}": layers[name] for name in inside if layers[name] != layers[HEAD]}
    return {name: known.get(name) for name in names}


def _of_transformer(names: list[str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name in names:
        block = BLOCK.match(name)
        found[name] = int(block[1]) + 1 if block else 0 if STEM.match(name) else None
    return found
