"""What an import is given beside the tensors: where they lie, and what the user says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """What an import is given beside the tensors.

    Attributes:
        path: the file of weights, or the folder.
        tokenizer: what --tokenizer names, a file or a folder; None: vocabulary files beside the weights.
        card: what --as names.
    """

    path: Path
    tokenizer: Path | None
    card: str | None

    @property
    def folder(self) -> Path:
        """Where what belongs to the weights lies."""
        return self.path if self.path.is_dir() else self.path.parent
