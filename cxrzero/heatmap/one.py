"""The maps of one frame of one file, as `Screener.heatmap` gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cxrzero.calibration.applied import lowest_positive
from cxrzero.choices import MapMethod, Notify
from cxrzero.errors import ImageError, NoInputError, RunError
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import film_of
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import Method, choose_method, validated
from cxrzero.heatmap.overlay import NOT_FOUND, UNVALIDATED
from cxrzero.heatmap.thresholds import thresholds_of
from cxrzero.prompts import LabelPrompts
from cxrzero.sources import ImageRef, check_paths

if TYPE_CHECKING:
    from cxrzero.screener import Screener


def map_one(
    screener: Screener, path: str, prompts: Sequence[LabelPrompts], method: MapMethod, frame: int, notify: Notify
) -> FilmMaps:
    """Arguments and errors as of `Screener.heatmap`; `notify` is told which method it is, and why."""
    check_paths([path], screener.archives, screener.objects)
    chosen, why = choose_method(method, [member.bundle for member in screener.members])
    notify(f"maps by {chosen}: {why}")
    mapper = Mapper(screener.members, prompts, chosen, screener.batch_size)
    geometries = [member.preprocess.fit for member in screener.members]
    try:
        found = next((each for each in screener.decode(path) if each.frame == frame), None)
    except ImageError as error:
        raise RunError(f"{path}: {error}") from error
    if found is None:
        raise NoInputError(f"{path} has no frame {frame}")
    film = film_of(ImageRef(path), found, geometries, draw=True)
    (maps,) = mapper([film])
    return replace(maps, film=film.picture, notes=_notes(screener, prompts, chosen, maps))


def _notes(
    screener: Screener, prompts: Sequence[LabelPrompts], method: Method, maps: FilmMaps
) -> tuple[tuple[str, ...], ...]:
    """For each label what its picture must say."""
    thresholds, _ = thresholds_of(screener, prompts, None)
    bundles = [member.bundle for member in screener.members]
    return tuple(
        (NOT_FOUND,) * bool(np.float32(probability) < lowest_positive(thresholds[label]))
        + (UNVALIDATED,) * (not validated(bundles, label, method))
        for label, probability in zip(maps.labels, maps.probabilities, strict=True)
    )
