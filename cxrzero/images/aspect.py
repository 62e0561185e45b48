"""How far a picture's pixels are from square, by the first of a header's spacings that can be read."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.dataset import Dataset

from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import numbers

# Pixel Aspect Ratio is stated only where no spacing is (PS3.3, C.7.6.3.1.7). All are "row\\column" (10.7.1.3), and the
# ratio in the plane of the patient is that in the plane of the detector.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")

# A film has sides of 35 and 43 cm and square samples within a few percent; a ratio beyond this is a broken header.
MAX_PIXEL_ASPECT = 10.0


class Aspect(NamedTuple):
    """The shape of pixels.

    Attributes:
        row_over_column: distance of rows over distance of columns.
        source: the attribute that states it, "" where none does.
        unusable: those before it that are no two positive numbers.
    """

    row_over_column: float = 1.0
    source: str = ""
    unusable: tuple[str, ...] = ()


def read_aspect(header: Dataset) -> Aspect:
    """The aspect that a header states. A spacing such as 0\\0 or "abc" is passed over: pixels are there without it.

    Raises:
        ImageError: "bad_pixel_spacing" when the ratio cannot be that of a picture.
    """
    unusable: list[str] = []
    for keyword in SPACINGS:
        try:
            spacing = numbers(header, keyword)
        except ImageError:
            unusable.append(keyword)
            continue
        if len(spacing) == 2 and all(0 < value < float("inf") for value in spacing):
            ratio = spacing[0] / spacing[1]
            if not 1.0 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT:
                raise ImageError("bad_pixel_spacing", "a pixel cannot have sides of more than 1 to 10")
            return Aspect(ratio, keyword, tuple(unusable))
        if spacing:
            unusable.append(keyword)
    return Aspect(unusable=tuple(unusable))
