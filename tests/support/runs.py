"""What a training run left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxrzero.train.model import checkpoint
from cxrzero.train.runfolder import RunFolder


def weights(run: Path) -> dict[str, Any]:
    """The state dict of the best checkpoint."""
    folder = RunFolder(run)
    found: dict[str, Any] = checkpoint.load(folder.checkpoint(checkpoint.load(folder.last)["best"][0]["file"]))["model"]
    return found
