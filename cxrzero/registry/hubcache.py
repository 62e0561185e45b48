"""Copies of Hugging Face repositories that other tools left in their cache; read only, and no library needed.

Layout (huggingface_hub, "Understand caching"): <hub>/models--ORG--NAME/refs/main holds a commit, and
<hub>/models--ORG--NAME/snapshots/COMMIT/ the files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cxrzero.errors import UsageError


def find_snapshot(repository: str) -> Path | None:
    """The folder of "org/name" as of its local `main`, else the only snapshot there is.

    Raises:
        UsageError: not "org/name".
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or ".." in repository:
        raise UsageError(f"hf-hub:{repository} must be hf-hub:organisation/name")
    folder = _hub_folder() / f"models--{repository.replace('/', '--')}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
        snapshot = folder / "snapshots" / commit
        if re.fullmatch(r"[0-9a-f]{40}", commit) and snapshot.is_dir():
            return snapshot
    except (OSError, UnicodeDecodeError):
        pass  # no `main` here: look at the snapshots themselves
    snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    return snapshots[0] if len(snapshots) == 1 else None


def _hub_folder() -> Path:
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home) / "hub"
