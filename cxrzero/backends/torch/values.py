"""The steps after the geometry, on the device: `cxrzero.model.values` in torch, bit for bit.

Products and sums are operators of their own, so that no compiler joins them into one that rounds once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cxrzero.model.values import ValueSteps, cubic_taps


def on_device(steps: ValueSteps, shape: Sequence[int], device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """What makes of (N, h, w) uint8 of one shape on a device pixel_values (N, 3, H, W) float32 there."""
    levels = torch.from_numpy(steps.levels).to(device)
    taps = []
    if steps.side is not None:
        for size in shape:
            places, weights = cubic_taps(size, steps.side)
            taps.append((torch.from_numpy(places).to(device), torch.from_numpy(weights).to(device)))

    def compute(fitted: Tensor) -> Tensor:
        values = levels.index_select(1, fitted.flatten().int()).reshape(-1, *fitted.shape).transpose(0, 1)
        for axis, (places, weights) in zip((-2, -1), taps, strict=False):
            values = _resample(values, axis, places, weights)
        return values.float().expand(-1, 3, -1, -1).contiguous()

    return compute


def _resample(values: Tensor, axis: int, places: Tensor, weights: Tensor) -> Tensor:
    """One axis of a bicubic resize in float64: products and their sums, from the first tap to the last."""
    weights = weights[:, :, None] if axis == -2 else weights
    total: Tensor | float = 0.0
    for place, weight in zip(places, weights, strict=True):
        total = total + values.index_select(axis, place).double() * weight
    return total
