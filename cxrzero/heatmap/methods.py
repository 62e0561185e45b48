"""Which method makes a model's maps, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cxrzero.choices import MapMethod
from cxrzero.errors import ConfigError
from cxrzero.model.bundle import Bundle
from cxrzero.prompts.location import better_method, location_validated, mean_gains

Method = Literal["patch", "attention", "occlusion"]

OCCLUSION: Method = "occlusion"

# What `validated` says, in `location` of heatmaps.csv and of a run's record.
LOCATION = {True: "validated", False: "not validated", None: "never measured"}


def choose_method(asked: MapMethod, bundles: Sequence[Bundle]) -> tuple[Method, str]:
    """The method, and the reason in words for the user.

    Args:
        bundles: of the models that are asked together.

    Raises:
        ConfigError: "patch" or "attention" was asked for, and there is none.
    """
    obstacles = {"patch": _no_patches(bundles), "attention": _no_attention(bundles)}
    if obstacle := obstacles.get(asked):
        raise ConfigError(f"--method {asked}: {obstacle}; use --method occlusion")
    if asked != "auto":
        return asked, "asked for"
    quick: Method = "attention" if bundles[0].has_scorer else "patch"
    if obstacle := obstacles[quick]:
        return "occlusion", obstacle
    field = bundles[0].card.get("location")
    for method in (quick, OCCLUSION):
        if better_method(field) == method:
            return method, f"measured better with {bundles[0].name} ({_gains(field)})"
    cost = "patches take one pass" if quick == "patch" else "its attention costs nothing"
    return quick, f"neither method was measured with {bundles[0].name}, and {cost}"


def validated(bundles: Sequence[Bundle], label: str, method: Method) -> bool | None:
    """Whether maps of a finding by this method were measured to beat the best fixed point; None if nobody measured it,
    as of every ensemble."""
    return location_validated(bundles[0].card.get("location"), label, method) if len(bundles) == 1 else None


def _no_attention(bundles: Sequence[Bundle]) -> str:
    """Why there is nothing that says where a model looks, or nothing."""
    if len(bundles) > 1:
        return f"an ensemble of {len(bundles)} models does not look at one place"
    if bundles[0].attention is None:
        said = "does not say where its scorer looks" if bundles[0].has_scorer else "does not score by attention"
        return f"the model {bundles[0].name} {said}"
    return ""


def _no_patches(bundles: Sequence[Bundle]) -> str:
    """Why there are no patches to look at, or nothing."""
    if len(bundles) > 1:
        return f"an ensemble of {len(bundles)} models has no patches in one space"
    if bundles[0].patch_encoder is None:
        return (
            f"the model {bundles[0].name} has no embeddings of patches in the space of its texts, as models that pool "
            "by attention"
        )
    return ""


def _gains(field: object) -> str:
    """What was measured of each method."""
    gains = mean_gains(field)
    return ", ".join(f"{method} {gain:+.2f} over the best fixed point" for method, gain in gains.items())
