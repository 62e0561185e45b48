"""The maps of one frame of one file, as `Screener.heatmap` gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrzero.choices import MapMethod, Notify
from cxrzero.errors import ImageError, NoInputError, RunError
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.films import film_of
from cxrzero.heatmap.mapper import Mapper
from cxrzero.heatmap.methods import choose_method
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
    (maps,) = mapper([film_of(ImageRef(path), found, geometries, draw=False)])
    return maps
