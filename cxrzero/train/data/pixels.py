"""From stored 8-bit pictures to what an encoder eats, on the device; the geometry was done once, in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

PreprocessStep = Mapping[str, Any]


def stretched(size: int) -> list[dict[str, Any]]:
    """Geometry of a model that brings no preprocessing: the whole film, as a square."""
    return [{"step": "resize", "height": size, "width": size, "interpolation": "bicubic"}]


def standardised(geometry: Sequence[PreprocessStep], pixels: npt.NDArray[np.uint8]) -> list[PreprocessStep]:
    """Geometry followed by rescaling to [0, 1] and normalisation to the mean and deviation of (n, H, W) pictures."""
    sample = pixels.astype(np.float64) / 255
    mean, std = round(float(sample.mean()), 4), max(round(float(sample.std()), 4), 1e-4)
    return [
        *geometry,
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": [mean] * 3, "std": [std] * 3},
    ]


def split_steps(steps: Sequence[PreprocessStep]) -> tuple[list[PreprocessStep], list[PreprocessStep]]:
    """Geometry on pictures, and what follows from `rescale` on."""
    cut = next((i for i, step in enumerate(steps) if step["step"] == "rescale"), len(steps))
    return list(steps[:cut]), list(steps[cut:])


class EncoderInput:
    """The steps from `rescale` on, for batches in torch; the same numbers as `cxrzero.model.preprocess.Preprocess`.

    Args:
        steps: a bundle's preprocessing.
    """

    def __init__(self, steps: Sequence[PreprocessStep]) -> None:
        self._numeric = split_steps(steps)[1]

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, H, W) float32 in [0, 1] → (B, 3, height, width) float32, channels last."""
        values = pixels[:, None] * 255
        for step in self._numeric:
            if step["step"] == "rescale":
                values = values * step["factor"]
            elif step["step"] == "normalize":
                mean, std = (values.new_tensor(_distinct(step[name])).view(1, -1, 1, 1) for name in ("mean", "std"))
                values = (values - mean) / std
            else:
                side = step["size"]
                values = functional.interpolate(values, size=(side, side), mode="bicubic", align_corners=False)
        return values.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _distinct(channels: Sequence[float]) -> Sequence[float]:
    """One number where the three are the same, so that grey stays one channel until the end."""
    return channels if len(set(channels)) > 1 else channels[:1]
