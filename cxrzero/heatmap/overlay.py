"""A map over the film, as a picture that tells its meaning also in grey and to the colour-blind."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from cxrzero.images.radiograph import GreyImage
from cxrzero.maths import Float32s

# What is said where it holds.
UNVALIDATED = "location not validated"
NOT_FOUND = "not found: this is where it would look"


def overlay(grey: GreyImage, found: Float32s, label: str, probability: float, notes: Sequence[str] = ()) -> Image.Image:
    """Draw a map over a film, with a colour scale, the label, its probability and notes.

    Args:
        grey: (H, W) uint8, upright.
        found: (h, w) float32, the map in the same orientation, on the same extent.
        label: what was asked.
        probability: of it.
        notes: lines such as UNVALIDATED and NOT_FOUND.

    Returns:
        An RGB picture; its longer side has about 1,000 pixels, whatever the film's.
    """
    raise NotImplementedError
