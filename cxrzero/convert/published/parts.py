"""The parts of a checkpoint, each the beginning of its tensors' names: which are there, and single layers of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from cxrzero.convert.published.layout import fill, part, refuse_others
from cxrzero.errors import ImportModelError


def check_parts(weights: Mapping[str, Tensor], needed: Iterable[str], unused: Iterable[str], what: str) -> list[str]:
    """Compare a checkpoint with the parts of its model.

    Args:
        unused: parts that the model has in training and that decide no score.

    Returns:
        Those of `unused` that are there.

    Raises:
        ImportModelError: a needed part is missing, or there are tensors of none.
    """
    needed, unused = tuple(needed), tuple(unused)
    missing = [prefix for prefix in needed if not any(name.startswith(prefix) for name in weights)]
    if missing:
        raise ImportModelError(f"these weights of {what} have nothing below {', '.join(missing)}: a part is missing")
    refuse_others(weights, needed + unused, what)
    return [prefix for prefix in unused if any(name.startswith(prefix) for name in weights)]


def check_joints(joints: Mapping[str, tuple[int, int]], what: str) -> None:
    """Compare what parts give with what reads it.

    Args:
        joints: name of a part → how wide it gives, and how wide is read.

    Raises:
        ImportModelError: two do not fit; names the first.
    """
    for name, (given, read) in joints.items():
        if given != read:
            raise ImportModelError(
                f"the parts of these weights of {what} do not belong together: {name} gives {given} numbers, and what "
                f"follows it reads {read}"
            )


def linear_of(weights: Mapping[str, Tensor], prefix: str, what: str) -> nn.Linear:
    """The linear layer below a prefix, which may be stored as a convolution of one place.

    Raises:
        ImportModelError: it is not there, or is another kind of layer.
    """
    own, layer = part(weights, prefix), f"the layer {prefix.rstrip('.')} of {what}"
    if "weight" not in own or own["weight"].ndim < 2:
        raise ImportModelError(f"{layer} is missing, or is no linear layer")
    own["weight"] = own["weight"].flatten(1)
    return fill(nn.Linear(own["weight"].shape[1], own["weight"].shape[0]), own, layer)
