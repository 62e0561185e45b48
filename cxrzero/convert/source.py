"""What an import is given beside the tensors: where they lie, and what the user says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """What an import is given beside the tensors.

    Attributes:
        path: the file of weights, or the folder.
        tokenizer: what --tokenizer names, a file or a folder; None: vocabulary files beside the weights.
        card: what --as names.
        config: the configuration that the authors kept beside the weights, as dicts, lists and scalars; {} is none.
    """

    path: Path
    tokenizer: Path | None
    card: str | None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where what belongs to the weights lies."""
        return self.path if self.path.is_dir() else self.path.parent
