"""Maps of any model: how far what speaks for a finding falls when a blurred window covers a place (after Zeiler and
Fergus, ECCV 2014, and RISE, Petsiuk et al., BMVC 2018).

Windows are places on the film, so that the models of an ensemble, whatever each makes of it, have the same one covered.
Coarse windows go over all of it, finer ones where a coarse one mattered to any of the labels. A cell of the map is the
mean fall of the windows of one size that cover it, summed over the sizes; where no fine window went, that is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from cxrzero.heatmap.cells import Axis
from cxrzero.heatmap.films import Film
from cxrzero.heatmap.heights import above_half
from cxrzero.heatmap.places import Line, lines_of
from cxrzero.maths import Bools, Float32s, Floats
from cxrzero.member import Member
from cxrzero.model.geometry import Size
from cxrzero.model.score import Evidence

# Cells along the longer side of a film; they are about square on it.
CELLS = 16
# Windows of so many cells a side, and how many cells from one to the next.
COARSE, FINE = (4, 2), (2, 1)
# The blur of a window's content, in its own side (Gaussian σ): what is left is the mean grey of its surroundings.
BLUR = 0.5

T = TypeVar("T", bound=np.generic)
Starts = list[tuple[int, int]]  # (row, column) of the first cell of each window


class Occlusion:
    """Covers places of one film and looks what the models then say.

    Args:
        members: of which the film has fitted pictures, in that order.
        evidence: (N, ΣD) image embeddings, the members' side by side → (N, L).
        batch_size: windows that are encoded together; the maps do not depend on it.

    Attributes:
        passes: images that each model has encoded.
    """

    def __init__(self, film: Film, members: Sequence[Member], evidence: Evidence, batch_size: int) -> None:
        self._members, self._evidence, self._batch_size = members, evidence, batch_size
        self._fitted = film.fitted
        height, width = film.size
        down, across = (max(1, round(side * CELLS / max(film.size))) for side in film.size)
        self.grid = (down, across)
        self.axes = (
            Axis(height / self.grid[0] / 2, height / self.grid[0]),
            Axis(width / self.grid[1] / 2, width / self.grid[1]),
        )
        self._lines = [lines_of(member.preprocess.fit, film.size) for member in members]
        self._size = film.size
        self.passes = 0

    def cells(self, whole: Float32s) -> Float32s:
        """(L, h, w) float32: the map on `grid`, whose cells lie at `axes` of the upright picture.

        Args:
            whole: (L,) the evidence of the film as it is.
        """
        coarse = self._falls(COARSE[0], _starts(self.grid, *COARSE), whole)
        matters: Bools = np.any([above_half(each) for each in coarse], axis=0)
        fine = [start for start in _starts(self.grid, *FINE) if _covered(matters, start, FINE[0]).any()]
        return np.asarray(coarse + self._falls(FINE[0], fine, whole), np.float32)

    def _falls(self, side: int, starts: Starts, whole: Float32s) -> Floats:
        """(L, h, w): for each cell the mean fall over the windows that cover it, 0 where there is none."""
        sums = np.zeros((len(whole), *self.grid))
        counts = np.zeros(self.grid)
        blurred = [self._blurred(index, side) for index in range(len(self._members))]
        for first in range(0, len(starts), self._batch_size):
            some = starts[first : first + self._batch_size]
            embeds = np.concatenate([self._embedded(i, blurred[i], side, some) for i in range(len(blurred))], axis=1)
            falls = whole.astype(np.float64) - self._evidence(embeds)
            for start, fall in zip(some, falls, strict=True):
                counted, summed = _covered(counts, start, side), _covered(sums, start, side)
                counted += 1
                summed += fall[:, None, None]
            self.passes += len(some)
        return np.divide(sums, counts, out=sums, where=counts > 0)

    def _embedded(self, index: int, blurred: Floats, side: int, starts: Starts) -> Float32s:
        """(N, D): one model's embeddings of the film with each window covered."""
        member, clear = self._members[index], self._fitted[index].astype(np.float64)
        inputs = []
        for start in starts:
            down, across = (
                _cover(line, axis, place, side, pixels)
                for line, axis, place, pixels in zip(self._lines[index], self.axes, start, clear.shape, strict=True)
            )
            covered = clear + (blurred - clear) * down[:, None] * across
            inputs.append(member.preprocess.values(np.rint(covered).astype(np.uint8)))
        return member.encoder.encode_images(np.stack(inputs))

    def _blurred(self, index: int, side: int) -> Floats:
        """The film in a fitted picture, blurred for itself, so that nothing of what surrounds it bleeds in."""
        fitted = self._fitted[index]
        ends = [
            (max(0, int(line.shift)), min(pixels, int(np.ceil(line.shift + line.scale * whole))))
            for line, whole, pixels in zip(self._lines[index], self._size, fitted.shape, strict=True)
        ]
        (upper, lower), (left, right) = ends
        radius = tuple(
            BLUR * side * axis.step * line.scale for line, axis in zip(self._lines[index], self.axes, strict=True)
        )
        inside = Image.fromarray(np.ascontiguousarray(fitted[upper:lower, left:right]))
        blurred = fitted.astype(np.float64)
        blurred[upper:lower, left:right] = np.asarray(inside.filter(ImageFilter.GaussianBlur(radius[::-1])))
        return blurred


def _starts(grid: Size, side: int, step: int) -> Starts:
    """Windows from edge to edge, row by row; one that is wider than the film covers it."""
    down, across = (sorted({*range(0, max(1, count - side + 1), step), max(0, count - side)}) for count in grid)
    return [(row, column) for row in down for column in across]


def _covered(cells: npt.NDArray[T], start: tuple[int, int], side: int) -> npt.NDArray[T]:
    row, column = start
    return cells[..., row : row + side, column : column + side]


def _cover(line: Line, axis: Axis, place: int, side: int, pixels: int) -> Floats:
    """(pixels,): how much of each fitted pixel lies behind a window, along one side; 0 to 1."""
    first = axis.first - axis.step / 2 + place * axis.step
    start, end = (line.scale * at + line.shift for at in (first, first + side * axis.step))
    at = np.arange(pixels)
    return np.asarray(np.clip(np.minimum(at + 1, end) - np.maximum(at, start), 0, 1))
