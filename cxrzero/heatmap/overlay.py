"""A map over the film, as a picture that tells its meaning also in grey and to the colour-blind.

Colour lies over the film where the map is high, the more the higher. A line in black and white goes around what is
above half of the map's height, a cross stands on its peak, so that both are seen on any grey. Below are the colour
scale with its numbers, the label, its probability, and what must be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrzero.display.plain import PLAIN
from cxrzero.display.visible import visible
from cxrzero.heatmap.colours import colours
from cxrzero.heatmap.heights import above_half, floor_of, peak_of
from cxrzero.images.radiograph import GreyImage
from cxrzero.maths import Bools, Float32s

# What is said where it holds.
UNVALIDATED = "location not validated"
NOT_FOUND = "not found: this is where it would look"

# Pixels.
SIDE = 800  # of the film's longer side as it is drawn
LEAST_WIDTH = 480  # so that text has room beside a sliver
MARGIN, TEXT, LINE, SCALE_HEIGHT, CROSS = 12, 20, 26, 18, 11
MOST_COLOUR = 0.55  # how much of a place is colour where the map is highest; the rest is film
INK, PAPER, WARNING = (235, 235, 235), (16, 16, 16), (255, 214, 102)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def overlay(grey: GreyImage, found: Float32s, label: str, probability: float, notes: Sequence[str] = ()) -> Image.Image:
    """Draw a map over a film, with a colour scale, the label, its probability and notes.

    Args:
        grey: (H, W) uint8, upright.
        found: (h, w) float32, the map in the same orientation, on the same extent.
        label: what was asked.
        probability: of it.
        notes: lines such as UNVALIDATED and NOT_FOUND.

    Returns:
        An RGB picture; the film's longer side has SIDE pixels in it, whatever it had before.
    """
    film, font = _coloured(grey, found), ImageFont.load_default(TEXT)
    width = max(film.width, LEAST_WIDTH)
    lines = [(f"{label}: p = {probability:.3f}", INK), *((note, WARNING) for note in notes)]
    shown = [(part, ink) for text, ink in lines for part in _wrapped(_drawable(text), font, width - 2 * MARGIN)]
    top = film.height + MARGIN
    below = top + SCALE_HEIGHT + LINE + MARGIN
    page = Image.new("RGB", (width, below + LINE * len(shown) + MARGIN // 2), PAPER)
    page.paste(film, ((width - film.width) // 2, 0))
    _draw_scale(page, top, (floor_of(found), float(found.max())), font)
    for number, (text, ink) in enumerate(shown):
        ImageDraw.Draw(page).text((MARGIN, below + LINE * number), text, fill=ink, font=font)
    return page


def _coloured(grey: GreyImage, found: Float32s) -> Image.Image:
    """The film in SIDE pixels with the map, its line and its cross."""
    ratio = SIDE / max(grey.shape)
    size = max(1, round(grey.shape[1] * ratio)), max(1, round(grey.shape[0] * ratio))
    film = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC), np.float32)[..., None]
    share = _enlarged(_shares(found), size)
    colour = colours()[np.rint(share * 255).astype(np.intp)]
    weight = (MOST_COLOUR * share)[..., None]
    pixels = np.rint(film * (1 - weight) + colour * weight).astype(np.uint8)
    inside = _enlarged(above_half(found).astype(np.float32), size) > 0.5
    line = _edge(inside)
    pixels[_grown(_grown(line))], pixels[_grown(line)] = BLACK, WHITE
    picture = Image.fromarray(pixels)
    row, column = peak_of(found)
    _draw_cross(picture, (column + 0.5) * size[0] / found.shape[1], (row + 0.5) * size[1] / found.shape[0])
    return picture


def _draw_cross(picture: Image.Image, x: float, y: float) -> None:
    draw = ImageDraw.Draw(picture)
    for ink, reach, thick in ((BLACK, CROSS + 1, 5), (WHITE, CROSS, 2)):
        draw.line((x - reach, y, x + reach, y), fill=ink, width=thick)
        draw.line((x, y - reach, x, y + reach), fill=ink, width=thick)


def _shares(found: Float32s) -> Float32s:
    """The map from 0, at what it counts from, to 1, at its peak; 0 where it is the same everywhere."""
    low, high = floor_of(found), float(found.max())
    shares = (found - low) / (high - low) if high > low else np.zeros_like(found)
    return np.asarray(np.clip(shares, 0, 1), np.float32)


def _enlarged(values: Float32s, size: tuple[int, int]) -> Float32s:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _grown(inside: Bools) -> Bools:
    """By a pixel on each side."""
    around = np.pad(inside, 1)
    return np.asarray(around[1:-1, 1:-1] | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:])


def _edge(inside: Bools) -> Bools:
    """Its pixels that have others beside them; the picture's own edge is none."""
    return np.asarray(inside & _grown(~inside))


def _draw_scale(page: Image.Image, top: int, ends: tuple[float, float], font: Font) -> None:
    """The colours with the numbers at both ends, and a mark where the line around the high part is."""
    width, draw = page.width - 2 * MARGIN, ImageDraw.Draw(page)
    bar = colours()[np.rint(np.linspace(0, 255, width)).astype(np.intp)][None]
    page.paste(Image.fromarray(np.repeat(bar, SCALE_HEIGHT, axis=0)), (MARGIN, top))
    middle = MARGIN + width // 2
    draw.line((middle, top, middle, top + SCALE_HEIGHT), fill=WHITE, width=2)
    texts = f"{ends[0]:.3f}", f"{sum(ends) / 2:.3f}", f"{ends[1]:.3f}"
    for text, place in zip(texts, (0.0, 0.5, 1.0), strict=True):
        left = MARGIN + place * (width - font.getlength(text))
        draw.text((left, top + SCALE_HEIGHT + 2), text, fill=INK, font=font)


def _drawable(text: str) -> str:
    """Text in characters that the font has; others are written out."""
    return visible(text).encode("latin-1", PLAIN).decode("latin-1")


def _wrapped(text: str, font: Font, width: int) -> Iterator[str]:
    """Lines of at most `width` pixels, broken at spaces where there are any."""
    line = ""
    for word in text.split(" "):
        if font.getlength(f"{line} {word}".strip()) <= width:
            line = f"{line} {word}".strip()
            continue
        if line:
            yield line
        while font.getlength(word) > width:
            fits = max(1, next(n for n in range(len(word), -1, -1) if font.getlength(word[:n]) <= width))
            yield word[:fits]
            word = word[fits:]
        line = word
    if line:
        yield line
