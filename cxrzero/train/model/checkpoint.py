"""Files of weights on disk: written whole or not at all, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from cxrzero.errors import TrainingError, WriteError
from cxrzero.files import WholeFile


def save(path: Path, content: dict[str, Any]) -> None:
    """Write beside the old file, then replace it in one step; until then the old one stays.

    Raises:
        WriteError: it cannot be written (disk full, say).
    """
    try:
        with WholeFile(path) as whole:
            torch.save(content, whole.file)
            whole.commit()
    except (OSError, RuntimeError) as error:  # torch wraps some failed writes in a RuntimeError
        kept = f"; the one before it is kept as {path}" if path.exists() else ""
        failed = error if isinstance(error, OSError) else error.__context__  # what torch wrapped
        reason = failed.strerror if isinstance(failed, OSError) else str(error).splitlines()[0]
        raise WriteError(f"the checkpoint {path} cannot be written ({reason}){kept}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a file of `save` to the CPU.

    Raises:
        TrainingError: it is missing or damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist") from None
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint: {error}") from error
    return content
