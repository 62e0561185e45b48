"""What a published layout is: how its tensors are recognised, and what makes a model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from cxrzero.cards.card import UNVERIFIED, Card
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.recognise import fill, shortened
from cxrzero.convert.source import Source
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

__all__ = ["Layout", "Source", "fill", "part", "refuse_others", "source_of"]


@dataclass(frozen=True)
class Layout:
    """The names and shapes in which a family of models was published.

    Attributes:
        name: of its card in cards/known.
        recognises: by names and shapes alone, from what no other layout has; no two layouts match one file. Best by one
            tower's names: `load` then says in words that the other is missing.
        load: raises ImportModelError where tensors are missing, superfluous or of another version.
    """

    name: str
    recognises: Callable[[Mapping[str, Tensor]], bool]
    load: Callable[[StateDict, Source], LoadedModel]


def part(weights: Mapping[str, Tensor], prefix: str) -> StateDict:
    """The tensors below a prefix, named without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def source_of(card: Card, fact: str) -> str:
    """Where the authors state a fact of their card."""
    stated = card.facts[fact]
    return stated.source if stated else UNVERIFIED


def refuse_others(weights: Mapping[str, Tensor], known: tuple[str, ...], what: str) -> None:
    """Raise ImportModelError where a name begins with none of `known`: the tensors of another version."""
    others = sorted(name for name in weights if not name.startswith(known))
    if others:
        raise ImportModelError(f"{what} has no such tensors: {shortened(others)}; is this another version of it?")
