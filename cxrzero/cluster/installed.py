"""Whether what an engine needs is installed."""

from __future__ import annotations

import importlib.util

from cxrzero.choices import parse_engine
from cxrzero.errors import MissingExtraError

# What an engine needs that the core does not bring; the extra has the engine's name.
MODULES = {"ray": "ray", "slurm": "submitit"}


def check_installed(spec: str) -> None:
    """Find out, before a model is loaded, whether an engine's library is here. Raises MissingExtraError."""
    name, _ = parse_engine(spec)
    if name in MODULES and importlib.util.find_spec(MODULES[name]) is None:
        raise MissingExtraError(MODULES[name], name)
