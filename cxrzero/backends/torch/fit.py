"""The geometry of preprocessing on a device: what `cxrzero.model.geometry` does with Pillow, bit for bit.

A pass of a resize is one weighted sum of a film's lines for each line of the result. Torch has that as `embedding_bag`:
one kernel, whatever the ratio. Weights and grey are whole multiples of 2⁻²² and sums need 31 bits, so float64 has each
partial sum exactly, in any order; on cards that compute little in float64 too, a pass mostly waits for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from cxrzero.images.radiograph import GreyImage
from cxrzero.model.geometry import Geometry, Resize, Size, Window
from cxrzero.model.resample import BITS, Order, order_of_passes, taps

# Pixels that are resized together at most, in the largest of their passes: in float64 128 MB, twice.
MOST_PIXELS = 2**24

# Passes whose taps stay on the device, some 100 kB each: to make them takes half a millisecond of the processor or
# more. Enough for films of 256 sizes, which is what 16 decoders leave whole (`cxrzero.pipeline.films`).
KEPT_TAPS = 512


@dataclass(frozen=True, slots=True, eq=False)
class _Taps:
    """On the device, the taps of all targets one after the other; `starts` says where those of each begin."""

    places: Tensor
    weights: Tensor
    starts: Tensor


class Fitter:
    """One geometry on one device, for one thread and its stream at a time.

    Args:
        geometry: one that `cxrzero.model.resample.fits_on_device`.
    """

    def __init__(self, geometry: Geometry, device: torch.device | str) -> None:
        order = order_of_passes()
        assert order is not None, "asked of fits_on_device before"
        self._order: Order = order
        self._geometry = geometry
        self._device = torch.device(device)
        self._taps = lru_cache(KEPT_TAPS)(self._placed_taps)

    @torch.inference_mode()
    def __call__(self, films: Sequence[GreyImage]) -> Tensor:
        """N films, (H, W) uint8 of any sizes, fitted or not → (N, h, w) uint8 on the device, in their order."""
        fitted: dict[int, Tensor] = {}
        for rows in self._alike(films):
            fitted.update(zip(rows, self._fit([films[row] for row in rows]), strict=True))
        return torch.stack([fitted[row] for row in range(len(films))])

    def _alike(self, films: Sequence[GreyImage]) -> list[list[int]]:
        """Rows of films that are fitted together: of one size, as many as MOST_PIXELS allow."""
        by_size: dict[Size, list[int]] = {}
        for row, film in enumerate(films):
            by_size.setdefault(_size_of(film), []).append(row)
        groups = []
        for size, rows in by_size.items():
            count = max(1, MOST_PIXELS // self._largest(size))
            groups += [rows[start : start + count] for start in range(0, len(rows), count)]
        return groups

    def _largest(self, size: Size) -> int:
        """Pixels of a film of this size in the largest of its passes."""
        largest = size[0] * size[1]
        for move in self._geometry.plan(size):
            # Between two passes one side is the old, the other the new one.
            largest = max(largest, max(size[0], move.size[0]) * max(size[1], move.size[1]))
            size = move.size
        return largest

    def _fit(self, films: Sequence[GreyImage]) -> Tensor:
        """Films of one size, which together are not too large, or one alone that is → (n, h, w)."""
        size = _size_of(films[0])
        if self._largest(size) > MOST_PIXELS:
            return self._copied([self._geometry(films[0])])
        pixels = self._copied(films)
        for move in self._geometry.plan(size):
            assert isinstance(move, Resize | Window), "fits_on_device refuses what is not Pillow's"
            pixels = self._resize(pixels, move) if isinstance(move, Resize) else _window(pixels, move)
        return pixels

    def _copied(self, films: Sequence[GreyImage]) -> Tensor:
        """(n, H, W) on the device. From pinned memory the copy needs no processor and waits for nothing."""
        on_cuda = self._device.type == "cuda"
        host = torch.empty((len(films), *films[0].shape), dtype=torch.uint8, pin_memory=on_cuda)
        for row, film in zip(host.numpy(), films, strict=True):
            row[...] = film
        return host.to(self._device, non_blocking=on_cuda)

    def _resize(self, pixels: Tensor, move: Resize) -> Tensor:
        source = (pixels.shape[1], pixels.shape[2])
        for axis in self._order(source, move.size):
            if source[axis] != move.size[axis]:
                pixels = _resample(pixels, axis + 1, self._taps(source[axis], move.size[axis], move.interpolation))
        return pixels

    def _placed_taps(self, source: int, target: int, interpolation: Image.Resampling) -> _Taps:
        found = taps(source, target, interpolation)
        count = found.weights.shape[1]
        return _Taps(
            torch.from_numpy(found.places.ravel()).to(self._device),
            torch.from_numpy(np.ldexp(found.weights.ravel(), -BITS)).to(self._device),
            torch.arange(0, target * count, count, dtype=torch.int32, device=self._device),
        )


def _resample(pixels: Tensor, axis: int, taps: _Taps) -> Tensor:
    """One pass along an axis of (n, H, W) uint8, as `cxrzero.model.resample.resize` makes it."""
    moved = pixels.movedim(axis, 0)
    lines = torch.empty(moved.shape, dtype=torch.float64, device=pixels.device).copy_(moved)
    sums = functional.embedding_bag(
        taps.places, lines.flatten(1), taps.starts, mode="sum", per_sample_weights=taps.weights
    )
    rounded = sums.add_(0.5).clamp_(0, 255).to(torch.uint8)  # which cuts off what is below one
    return rounded.view(-1, *moved.shape[1:]).movedim(0, axis)


def _window(pixels: Tensor, move: Window) -> Tensor:
    """What of (n, H, W) lies in a window, in a field of its fill."""
    height, width = move.size
    window = pixels.new_full((len(pixels), height, width), min(max(move.fill, 0), 255))
    top, left = max(0, -move.top), max(0, -move.left)
    inside = pixels[:, max(0, move.top) :, max(0, move.left) :][:, : height - top, : width - left]
    window[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    return window


def _size_of(film: GreyImage) -> Size:
    return film.shape[0], film.shape[1]
