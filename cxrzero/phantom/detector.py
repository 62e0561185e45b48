"""From path lengths to a picture: Beer–Lambert attenuation, scatter, quantum noise, response, display curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cxrzero.maths import AnyFloats

# Effective linear attenuation, 1/mm, for a 120 kV chest beam (about 60–70 keV): water 0.020; compact bone 0.056, given
# as its excess over the soft tissue that it replaces; metal stands for anything that stops most of the beam.
WATER, BONE_EXCESS, METAL = 0.020, 0.036, 0.45


@dataclass(frozen=True)
class Look:
    """How a department's films look; independent of the patient.

    Attributes:
        photons: per mm² reaching the detector without a patient; fewer is noisier.
        scatter: scattered light over the mean primary light.
        contrast: slope of the display curve; 1 is plain.
        gamma: > 1 darkens the middle greys.
        equalise: 0…1, how much of the large-scale brightness differences the processing takes away.
        sharpen: strength of the edge enhancement.
        border: width of the collimated border as a fraction of each side (top, right, bottom, left).
        border_white: whether that border shows white (unexposed film) instead of black (shuttered).
    """

    photons: float = 2.0e5
    scatter: float = 0.25
    contrast: float = 1.0
    gamma: float = 1.0
    equalise: float = 0.25
    sharpen: float = 0.5
    border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    border_white: bool = False


def sample_look(rng: np.random.Generator) -> Look:
    """Draw a look from the range that departments span."""
    collimated = rng.uniform() < 0.3
    border = rng.uniform(0.0, 0.05, 4) * rng.integers(0, 2, 4) * collimated
    return Look(
        photons=float(10 ** rng.uniform(4.6, 5.8)),
        scatter=rng.uniform(0.1, 0.5),
        contrast=rng.uniform(0.8, 1.2),
        gamma=rng.uniform(0.85, 1.25),
        equalise=rng.uniform(0.1, 0.35),
        sharpen=rng.uniform(0.1, 0.9),
        border=(float(border[0]), float(border[1]), float(border[2]), float(border[3])),
        border_white=bool(rng.uniform() < 0.3),
    )


def expose(attenuation: AnyFloats, mm_per_px: float, look: Look, rng: np.random.Generator) -> AnyFloats:
    """Optical depth as the detector measures it.

    Args:
        attenuation: (H, W) −ln of the primary transmission.
        mm_per_px: sets how many photons a pixel counts.
    """
    light = np.exp(-attenuation)
    # Scatter spreads over about a decimetre: 1/24 of the field is fine enough to hold it.
    light = light + np.float32(look.scatter) * _blur(light, 24)
    light /= np.float32(1 + look.scatter)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise *= np.sqrt(light / np.float32(look.photons * mm_per_px**2))
    measured: AnyFloats = -np.log(np.maximum(light + noise, np.float32(1e-4)))
    return measured


def develop(depth: AnyFloats, look: Look) -> AnyFloats:
    """Measured optical depth to display values in 0…1, bright = dense."""
    wide = _blur(depth, 10)
    edges = depth - _soften(depth)
    depth = depth - np.float32(look.equalise) * (wide - wide.mean()) + np.float32(look.sharpen) * edges
    body = depth[::4, ::4][wide[::4, ::4] > 1.8]
    if body.size < 64:
        body = depth[::4, ::4].ravel()
    low, high = np.percentile(body, [2.5, 99.0])
    grey = (depth - np.float32(low)) / np.float32(max(high - low, 1e-3))
    grey = np.float32(0.17) + np.float32(0.73) * grey
    # Logistic display curve through the middle grey, as VOI LUT function SIGMOID (DICOM PS3.3 C.11.2.1.3.1).
    grey = 1 / (1 + np.exp(np.float32(-4.4 * look.contrast) * (grey - np.float32(0.5))))
    ends = 1 / (1 + np.exp(np.float32(2.2 * look.contrast)))
    grey = np.clip((grey - ends) / (1 - 2 * ends), 0, 1)
    shown: AnyFloats = grey ** np.float32(look.gamma)
    return shown


def collimate(grey: AnyFloats, look: Look) -> AnyFloats:
    """Paint the collimated border, if any."""
    height, width = grey.shape
    top, right, bottom, left = look.border
    value = np.float32(1.0 if look.border_white else 0.0)
    grey[: round(top * height)] = value
    grey[height - round(bottom * height) :] = value
    grey[:, : round(left * width)] = value
    grey[:, width - round(right * width) :] = value
    return grey


def _blur(image: AnyFloats, cells: int) -> AnyFloats:
    """Low-pass that keeps about `cells` samples along each side."""
    coarse = Image.fromarray(image).resize((cells, cells), Image.Resampling.BOX)
    padded = np.pad(np.asarray(coarse), 1, mode="edge")
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    rows = sum(k * padded[i : i + cells] for i, k in enumerate(kernel))
    smooth = sum(k * rows[:, i : i + cells] for i, k in enumerate(kernel))
    small = Image.fromarray(np.ascontiguousarray(smooth, np.float32))
    return np.asarray(small.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC))


def _soften(image: AnyFloats) -> AnyFloats:
    """Binomial 5 × 5 low-pass, edges repeated."""
    for axis in (0, 1):
        n = image.shape[axis]
        pad = [(0, 0), (0, 0)]
        pad[axis] = (2, 2)
        wide = np.pad(image, pad, mode="edge")
        total = np.zeros_like(image)
        for i, k in enumerate((1, 4, 6, 4, 1)):
            total += np.float32(k / 16) * np.take(wide, range(i, i + n), axis=axis)
        image = total
    return image
