"""The parts of a checkpoint: which a model needs, which it may have, and single layers of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from cxrzero.convert.published.bert import part
from cxrzero.convert.recognise import SHOWN, check_keys
from cxrzero.errors import ImportModelError


def check_parts(weights: Mapping[str, Tensor], needed: Iterable[str], ignored: Iterable[str], what: str) -> list[str]:
    """Compare a checkpoint with the parts of its model, each the beginning of its tensors' names.

    Args:
        ignored: parts that the model has in training and that decide no score.

    Returns:
        Those of `ignored` that are there.

    Raises:
        ImportModelError: a needed part is missing, or there are tensors of none.
    """
    needed, ignored = tuple(needed), tuple(ignored)
    missing = [prefix for prefix in needed if not any(name.startswith(prefix) for name in weights)]
    if missing:
        raise ImportModelError(f"these weights of {what} have nothing below {', '.join(missing)}: a part is missing")
    others = sorted(name for name in weights if not name.startswith(needed + ignored))
    if others:
        more = f", and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ImportModelError(f"these weights hold what {what} has not: {', '.join(others[:SHOWN])}{more}")
    return [prefix for prefix in ignored if any(name.startswith(prefix) for name in weights)]


def linear_of(weights: Mapping[str, Tensor], prefix: str, what: str) -> nn.Linear:
    """The linear layer below a prefix, which may be stored as a convolution of one place.

    Raises:
        ImportModelError: it is not there, or is another kind of layer.
    """
    own = part(weights, prefix)
    if "weight" not in own or own["weight"].ndim < 2:
        raise ImportModelError(f"{what} has no layer {prefix.rstrip('.')}")
    own["weight"] = own["weight"].flatten(1)
    linear = nn.Linear(own["weight"].shape[1], own["weight"].shape[0], bias="bias" in own)
    check_keys(linear, own, f"{what}, layer {prefix.rstrip('.')}")
    linear.load_state_dict(own)
    return linear
