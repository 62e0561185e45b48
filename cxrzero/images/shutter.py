"""Display shutters (PS3.3, C.7.6.11): what a viewer covers of a picture, because it shows no patient.

Covered pixels are black in the end, as padding is: Shutter Presentation Value says how a display is to fill them, and a
white rim would be dense bone to a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import numbers, texts

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shutter:
    """The shutter of a frame.

    Attributes:
        visible: (rows, columns) what all shapes leave open; None where nothing is covered.
        shapes: those that are applied.
        unusable: those that are incomplete, unknown, or together would leave nothing.
    """

    visible: Mask | None = None
    shapes: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()

    def reduced(self, factor: int) -> Shutter:
        """The same for a frame at a fraction of its size: what is open in the middle of each of its pixels."""
        if self.visible is None or factor == 1:
            return self
        rows, columns = (np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n in self.visible.shape)
        return replace(self, visible=self.visible[np.ix_(rows, columns)])


def read_shutter(header: Dataset, rows: int, columns: int, row_over_column: float) -> Shutter:
    """The shutter of a picture: the least that its shapes leave visible.

    Args:
        header: of the file or frame.
        rows, columns: of the picture as stored.
        row_over_column: distance of rows over distance of columns; a circle is one in the patient's plane.
    """
    shapes = [shape.upper() for shape in texts(header, "ShutterShape") if shape]
    if not shapes:
        return Shutter()
    visible = np.ones((rows, columns), np.bool_)
    used, unusable = [], []
    for shape in shapes:
        opening = _opening(header, shape, rows, columns, row_over_column)
        if opening is None:
            unusable.append(shape)
        else:
            visible &= opening
            used.append(shape)
    if not visible.any():
        return Shutter(unusable=(*used, *unusable))
    return Shutter(None if visible.all() else visible, tuple(used), tuple(unusable))


def _opening(header: Dataset, shape: str, rows: int, columns: int, row_over_column: float) -> Mask | None:
    """What one shape leaves open, its edges included; None where it is not fully stated. The first pixel is 1\\1."""
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    if shape == "RECTANGULAR":
        edges = [_stated(header, f"Shutter{edge}Edge", 1) for edge in _EDGES]
        if not all(edges):
            return None
        left, right, upper, lower = (edge[0] for edge in edges)
        return np.asarray((left <= column) & (column <= right) & (upper <= row) & (row <= lower))
    if shape == "CIRCULAR":
        center, radius = _stated(header, "CenterOfCircularShutter", 2), _stated(header, "RadiusOfCircularShutter", 1)
        if not center or not radius:
            return None
        down, across = (row - center[0]) * row_over_column, column - center[1]
        return np.asarray(down * down + across * across <= radius[0] ** 2)
    vertices = _stated(header, "VerticesOfThePolygonalShutter", 6) if shape == "POLYGONAL" else []
    return _polygon(vertices, rows, columns) if vertices and len(vertices) % 2 == 0 else None


_EDGES = ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")


def _polygon(vertices: list[float], rows: int, columns: int) -> Mask:
    """Inside of a polygon of row\\column pairs."""
    mask = Image.new("1", (columns, rows))
    corners = [(x - 1, y - 1) for y, x in zip(vertices[::2], vertices[1::2], strict=True)]
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    return np.asarray(mask)


def _stated(header: Dataset, keyword: str, count: int) -> list[float]:
    """Return at least `count` numbers that can be places in a picture, else []."""
    try:
        found = numbers(header, keyword)
    except ImageError:
        return []
    return found if len(found) >= count and all(abs(value) < 1e6 for value in found) else []
