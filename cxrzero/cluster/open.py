"""`--engine`: from what was typed to the engine."""

from __future__ import annotations

from pathlib import Path

from cxrzero.choices import parse_engine
from cxrzero.cluster.engine import Engine
from cxrzero.predict.options import PredictOptions


def open_engine(spec: str, options: PredictOptions, folder: Path) -> Engine:
    """Open what `spec` names.

    Args:
        spec: as `cxrzero.choices.parse_engine` takes it.
        options: of the run; `device` and `workers` say what a task needs.
        folder: of the plan (`cxrzero.cluster.plan.PlanFolder.path`), where an engine may keep what it has to know
            after a driver was killed.

    Raises:
        UsageError: an unknown engine.
        MissingExtraError: it is not installed.
        RunError: it cannot be had.
    """
    name, more = parse_engine(spec)
    if name == "ray":
        from cxrzero.cluster.ray import open_ray

        return open_ray(more, options, folder)
    if name == "slurm":
        from cxrzero.cluster.slurm import open_slurm

        return open_slurm(more, options, folder)
    from cxrzero.cluster.local import open_local

    return open_local(more, options, folder)
