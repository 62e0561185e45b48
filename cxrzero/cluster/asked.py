"""Options of `predict` as JSON, for plans and tasks: what `written` makes, `read` takes back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from cxrzero.errors import RunError
from cxrzero.options import options_of
from cxrzero.predict.options import PredictOptions

# Not for nodes: the slice has the films, the driver writes what is asked for of all of them, and lists archives.
OF_DRIVER = (
    "paths", "query", "out", "overwrite", "dicom_sr", "by", "study_aggregate", "key_map", "format", "long", "top",
    "shard", "engine", "tasks",
)  # fmt: skip
# Whether a picture was there before, no slice can know.
DUPLICATE = "duplicate"
# What decides the rows of a task, but is compared in what ran: a run may go on with another choice.
SETTLED_LATER = ("device", "backend")


def task_options(options: PredictOptions) -> PredictOptions:
    """What a task is asked: a wide table of every film of its slice, in JSON Lines, which keeps every text as it is."""
    shared = {each.name: each.default for each in options_of(PredictOptions) if each.name in OF_DRIVER}
    skip = tuple(name for name in options.skip if name.strip() != DUPLICATE)
    return replace(options, **{**shared, "paths": (), "skip": skip, "format": "jsonl", "overwrite": True})


def written(options: PredictOptions) -> dict[str, Any]:
    """What is not as by default; texts, numbers and lists of them."""
    values = {each.name: (each.default, getattr(options, each.name)) for each in options_of(PredictOptions)}
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, (default, value) in values.items()
        if value != default
    }


def read(values: Mapping[str, Any]) -> PredictOptions:
    """The options again.

    Raises:
        RunError: they were written by another version.
    """
    kinds = {each.name: (each.type, *get_args(each.type)) for each in options_of(PredictOptions)}
    if unknown := sorted(values.keys() - kinds.keys()):
        raise RunError(f"a task has options that this cxrzero does not know ({', '.join(unknown)}): other versions run")
    typed: dict[str, Any] = {
        name: Path(value) if Path in kinds[name] else tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
    return PredictOptions(**typed)


def digest(options: PredictOptions) -> str:
    """What tells whether a command is the one that a plan was made for: paths, where they start, what decides rows."""
    decisive = {each.name for each in options_of(PredictOptions) if each.decides != "nothing"} - {*SETTLED_LATER}
    values = {name: value for name, value in written(options).items() if name in decisive and name != "query"}
    values["query"] = list(options.query.keys) if options.query else None
    values["folder"] = os.getcwd()
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
