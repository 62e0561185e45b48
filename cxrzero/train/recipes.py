"""Options that are filled from a recipe, kept in run.json, and taken up again by a resumed run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrzero.errors import UsageError
from cxrzero.options import carried_out
from cxrzero.train.options import TrainOptions

# Values that a recipe sets; whatever the user states wins. "chexzero" is the training of CheXzero's reference code:
# stochastic gradient descent at one rate, no validation, no average, no augmentation, CLIP's plain loss.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "chexzero": {
        "arch": "ViT-B-32-quickgelu",
        "optimiser": "sgd",
        "lr": 1e-4,
        "momentum": 0.9,
        "schedule": "constant",
        "weight_decay": 0.0,
        "grad_clip": math.inf,
        "max_logit_scale": math.inf,
        "epochs": 4,
        "batch_size": 16,
        "texts_per_image": 1,
        "ema_decay": 0.0,
        "augment": False,
        "preprocess": "chexzero",
        "loss": "clip",
        "text_rule": "chexzero",
    },
}


def recipe_options(recipe: str = "default", **given: Any) -> TrainOptions:
    """A run of a recipe.

    Args:
        given: fields of TrainOptions; None leaves a field to the recipe.

    Raises:
        UsageError: a value is out of range, or there is no such recipe.
    """
    if recipe not in RECIPES:
        raise UsageError(f"there is no recipe {recipe!r}; choose from {', '.join(RECIPES)}")
    stated = {name: value for name, value in given.items() if value is not None}
    return TrainOptions(**(RECIPES[recipe] | stated | {"recipe": recipe}))


def resumed_options(recorded: TrainOptions, given: Mapping[str, Any]) -> TrainOptions:
    """The recorded run with those given options that may change: what says how it is carried out.

    Raises:
        UsageError: another option differs from what the run was started with; it is named.
    """
    free = carried_out(TrainOptions)
    for name, value in given.items():
        if name not in free and _plain(value) != _plain(getattr(recorded, name)):
            before = _plain(getattr(recorded, name))
            raise UsageError(
                f"{name.replace('_', '-')} is {_plain(value)!r} but the run in {recorded.out} was started with "
                f"{'its default' if before is None else repr(before)}; resume without it, or start another run with "
                "another --out"
            )
    return dataclasses.replace(recorded, **{name: given[name] for name in given if name in free})


def to_json(options: TrainOptions) -> dict[str, Any]:
    """Every field as JSON knows it; paths absolute, so that a run can be resumed from any folder."""
    return {field.name: _plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def from_json(fields: Mapping[str, Any]) -> TrainOptions:
    """The inverse of `to_json`."""
    paths = {field.name for field in dataclasses.fields(TrainOptions) if "Path" in str(field.type)}
    restored: dict[str, Any] = {
        name: Path(value) if name in paths and value is not None else value for name, value in fields.items()
    }
    return TrainOptions(**restored)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return "inf" if value == math.inf else value
