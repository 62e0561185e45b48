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
        "lateral": "The header says lateral view (View Position or the view code).",
        "low_contrast": "The middle 98% of the pixels span fewer than 32 of 256 grey levels.",
        "low_resolution": "The shorter side has fewer than 224 pixels.",
        "maybe_inverted": "The picture looks like a negative: bone dark and lung bright.",
        "maybe_not_chest_xray": "The picture does not look like a chest X-ray.",
        "multi_frame": "The file holds several frames; each is a row.",
        "multi_page": "The file holds several pages or an animation; the first was used.",
        "secondary_capture": "A screen grab or a scanned film (Secondary Capture), not the detector's own image.",
        "view_unknown": "The header does not say which view it is.",
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


# PS3.3, C.8.1.1 (CR Series): PA, AP, LL, RL, and decubitus and oblique views, neither frontal nor lateral here.
# LATERAL and LAT are what some vendors write.
_LATERAL_VIEWS = frozenset({"LL", "RL", "LATERAL", "LAT"})
_FRONTAL_VIEWS = frozenset({"PA", "AP"})
# PS3.16, CID 4010, DX View, as SNOMED CT and the older SNOMED RT codes: lateral projection, left lateral, right
# lateral, medio-lateral, latero-medial.
_LATERAL_CODES = frozenset(
    {"399067008", "399173006", "399198007", "399260004", "399352003"}
    | {"R-102CD", "R-10236", "R-10232", "R-10224", "R-10228"}
)
# The same: postero-anterior, antero-posterior, frontal.
_FRONTAL_CODES = frozenset({"272479007", "399348003", "399033003"} | {"R-40888", "R-10206", "R-10202"})


def view_flags(view_position: str, view_code: str = "") -> set[str]:
    """`lateral` or `view_unknown`, from View Position (0018,5101) and the code of View Code Sequence (0054,0220)."""
    view = view_position.strip().upper()
    if view in _LATERAL_VIEWS or (not view and view_code in _LATERAL_CODES):
        return {"lateral"}
    if view in _FRONTAL_VIEWS or (not view and view_code in _FRONTAL_CODES):
        return set()
    return {"view_unknown"}


# PS3.16, Annex L, Body Part Examined: terms that include the chest, and spellings that exports use.
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORAX", "THORACIC", "CXR", "HEART", "TRUNK", "WHOLEBODY")


def body_part_flags(body_part: str) -> set[str]:
    """`body_part_not_chest` when Body Part Examined (0018,0015) is stated and names something else."""
    part = body_part.strip().upper()
    if not part or any(word in part for word in _CHEST) or part in {"UNKNOWN", "OTHER", "NONE"}:
        return set()
    return {"body_part_not_chest"}
