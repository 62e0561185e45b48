"""Folders of `cxrzero train` that hold no model yet, and what to do with one; train/runfolder.py makes them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from cxrzero.model.model_json import MODEL_JSON
from cxrzero.registry.folder import is_bundle

RUN_JSON, CHECKPOINTS = "run.json", "checkpoints"


def why_no_model(path: Path) -> str | None:
    """What to do with a path that is a training run without its model, a part of one, or a folder of such runs.

    None: it is nothing of the kind.
    """
    run = _run_of(path)
    if run is None and path.is_dir():
        run = next((folder for folder in sorted(path.iterdir()) if is_run(folder) and not is_bundle(folder)), None)
    if run is None:
        return None
    shown = shlex.quote(str(run))
    if is_bundle(run):
        return f"{path} belongs to a training run that has ended; its model is --model {shown}"
    return (
        f"{path} holds no model yet: the training run {run} has not ended; unless it is still running, go on with it: "
        f"cxrzero train --resume {shown}"
    )


def _run_of(path: Path) -> Path | None:
    if is_run(path):
        return path
    here = Path(os.path.abspath(path))
    if here.name in (CHECKPOINTS, RUN_JSON, MODEL_JSON):
        run = here.parent
    elif here.parent.name == CHECKPOINTS:
        run = here.parent.parent
    else:
        return None
    if not is_run(run):
        return None
    return run if path.is_absolute() else Path(os.path.relpath(run))


def is_run(folder: Path) -> bool:
    return (folder / RUN_JSON).is_file() and (folder / CHECKPOINTS).is_dir()
