"""Copies of Hugging Face repositories that other tools left in their cache; read only, without the network."""

from __future__ import annotations

import re
from pathlib import Path

from cxrzero.errors import UsageError
from cxrzero.registry.hub import library

WRONG = "hf-hub:{} must be hf-hub:organisation/name"


def find_snapshot(repository: str) -> Path | None:
    """The folder of "org/name" as of its local `main`, else the only snapshot there is; $HF_HUB_CACHE, $HF_HOME.

    Raises:
        UsageError: not "org/name".
    """
    hub = library()
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    if repository.count("/") != 1:
        raise UsageError(WRONG.format(repository))
    try:
        # no pattern: whoever fetched a part of the repository may have all that a model needs
        main = Path(hub.snapshot_download(repository, local_files_only=True, allow_patterns=[], token=False))
        if main.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", main.name):
            return main
    except HFValidationError as error:
        raise UsageError(WRONG.format(repository)) from error
    except (OSError, UnicodeDecodeError):
        pass  # no `main` here: look at the snapshots themselves
    folder = Path(hub.constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    return snapshots[0] if len(snapshots) == 1 else None
