"""The maps of a frame as a notebook shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxrzero.display.notebook import figures
from cxrzero.display.pictures import embedded, jpeg
from cxrzero.heatmap.overlay import SIDE, overlay

if TYPE_CHECKING:
    from cxrzero.heatmap.arrays import FilmMaps

MOST_SHOWN = 8  # labels
LONGER_SIDE = 480  # pixels
GREY = 96


def shown(maps: FilmMaps) -> str:
    """Markup: the first maps over the film, or over plain grey where there is no picture of it."""
    pictures = []
    for place, label in enumerate(maps.labels[:MOST_SHOWN]):
        found, probability = maps.upright(place), float(maps.probabilities[place])
        film = np.full(_size(*found.shape), GREY, np.uint8) if maps.film is None else maps.film
        notes = maps.notes[place] if maps.notes else ()
        text = f"{label}: p = {probability:.3f}"
        pictures.append((embedded(jpeg(overlay(film, found, label, probability, notes), LONGER_SIDE), text), text))
    first = f", of which the first {MOST_SHOWN} are here" if len(maps.labels) > MOST_SHOWN else ""
    without = "; no picture of the film is kept here" if maps.film is None else ""
    return figures(pictures, f"{repr(maps).strip('<>')}{first}{without}")


def _size(height: int, width: int) -> tuple[int, int]:
    """Of a picture of the same form, large enough for lines to be fine on it."""
    ratio = SIDE / max(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))
