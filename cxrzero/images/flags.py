"""The closed vocabulary of flags: what is unusual about an image, in one word each.

A flag never changes a score. `--skip` turns a flag into a row with status "skipped".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from cxrzero.images.chain import histogram
from cxrzero.images.radiograph import GreyImage

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "body_part_not_chest": "The header names a body part, and it is not the chest.",
        "burned_in_annotation": "The header says that text is burned into the pixels (Burned In Annotation is YES).",
        "duplicate": "The same pixels were seen before in this run.",
        "for_processing": "Raw detector data, not meant for viewing (Presentation Intent Type is FOR PROCESSING).",
        "heavily_cropped_or_padded": "Over 35% of the image is a flat border, or one side is over twice the other.",
        "lateral": "The header says lateral view (View Position, else the view code).",
        "low_contrast": "The middle 98% of the pixels span fewer than 32 of 256 grey levels.",
        "low_resolution": "The shorter side has fewer than 224 pixels.",
        "maybe_inverted": "The picture looks like a negative: bone dark and lung bright.",
        "maybe_not_chest_xray": "The picture does not look like a chest X-ray.",
        "multi_frame": "The file holds several frames; each is a row.",
        "multi_page": "The file holds several pages or an animation; the first was used.",
        "secondary_capture": "A screen grab or a scanned film (Secondary Capture), not the detector's own image.",
        "view_unknown": "The header names neither a frontal nor a lateral view.",
    }
)

# The encoder of the reference system sees 224 × 224 pixels; fewer are enlarged.
MIN_SIDE = 224
# One eighth of the grey range: below it a picture is nearly flat.
MIN_CONTRAST = 32
# A 35 × 43 cm film has sides of 1 to 1.23; a strip narrower than 1 to 2 shows no whole chest.
MAX_ASPECT = 2.0
# Collimation usually leaves 5 to 20% of flat border; above this the anatomy fills less than two thirds.
MAX_BORDER = 0.35
# Grey levels by which a border row or column may vary and still count as flat.
FLAT = 2


def pixel_flags(pixels: GreyImage) -> set[str]:
    """Flags that follow from the picture alone.

    Args:
        pixels: (H, W) uint8 grey.
    """
    flags = set()
    height, width = pixels.shape
    if min(height, width) < MIN_SIDE:
        flags.add("low_resolution")
    # Grey levels are integers, so percentiles come from the histogram exactly, and fast on large images.
    cumulated = np.cumsum(histogram(pixels, 256))
    low, high = np.searchsorted(cumulated, [0.01 * pixels.size, 0.99 * pixels.size])
    if high - low < MIN_CONTRAST:
        flags.add("low_contrast")
    if max(height, width) > MAX_ASPECT * min(height, width) or border_fraction(pixels) > MAX_BORDER:
        flags.add("heavily_cropped_or_padded")
    return flags


def border_fraction(pixels: GreyImage) -> float:
    """Share of the area taken by flat rows and columns at the four edges; 0 for an image that is flat throughout."""
    busy = [np.ptp(pixels, axis=axis) > FLAT for axis in (1, 0)]
    if not all(side.any() for side in busy):
        return 0.0
    kept = [int(np.flatnonzero(side)[-1] - np.flatnonzero(side)[0] + 1) for side in busy]
    return 1.0 - math.prod(kept) / pixels.size
