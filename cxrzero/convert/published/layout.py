"""What a published layout is: how its tensors are recognised, and what makes a model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.source import Source
from cxrzero.convert.weights import StateDict

__all__ = ["Layout", "Source"]


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
