"""Random changes that a chest radiograph could have undergone. No left-right flip: sides have a meaning."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION = math.radians(10)  # positioning of the patient
SCALE = 0.15  # distance and collimation, relative
ASPECT = 0.15  # squeezed copies are common, and how much was squeezed can tell the source
SHIFT = 0.08  # fraction of the side
GAMMA = 0.35  # exposure and processing, log scale
CONTRAST = 0.3
BRIGHTNESS = 0.15  # of the full range
MIN_RESAMPLED = 0.4  # resampling through this fraction of the side hides how large a source's files were
# How sharp a film is, along and across, tells what it went through before it was a file: scanner, processing, and from
# what shape it was squeezed. Log gains at BANDS frequencies, from LOWEST cycles a pixel to the highest. Of children's
# films that a source had squeezed, spectra alone told the sick at an AUROC of 0.975, and of its test films at 0.866.
FILTER, TILT, BANDS, LOWEST = 0.6, 0.4, 4, 0.01
FILTERED = 0.7  # probability
NOISE = 0.03
ERASE = 0.3  # probability of one erased rectangle; markers and borders must not decide


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Augment a batch.

    Args:
        pixels: (N, H, W) float32 in [0, 1].
        generator: the only source of randomness, on the device of the pixels.

    Returns:
        (N, H, W) float32 in [0, 1].
    """
    pixels = _move(pixels[:, None], generator)
    pixels = _resample(pixels, generator)[:, 0]
    pixels = filtered(pixels, generator)
    pixels = _expose(pixels, generator)
    return _erase(pixels, generator)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device) * (high - low) + low


def _move(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, scale, squeeze and shift: one affine map per image, black outside."""
    n = len(pixels)
    angle = _uniform(n, -ROTATION, ROTATION, generator)
    scale = torch.exp(_uniform(n, -SCALE, SCALE, generator))
    aspect = torch.exp(_uniform(n, -ASPECT, ASPECT, generator))
    shift = _uniform(2 * n, -2 * SHIFT, 2 * SHIFT, generator).view(2, n)
    x, y = scale * aspect, scale / aspect
    rows = [x * angle.cos(), -x * angle.sin(), shift[0], y * angle.sin(), y * angle.cos(), shift[1]]
    theta = torch.stack(rows, dim=1).view(n, 2, 3)
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _resample(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Lose detail in half of the batch by going through a smaller picture."""
    side = pixels.shape[-1]
    smaller = int(side * float(_uniform(1, MIN_RESAMPLED, 0.9, generator)))
    chosen = torch.rand(len(pixels), generator=generator, device=pixels.device) < 0.5
    if not bool(chosen.any()):
        return pixels
    low = functional.interpolate(pixels[chosen], size=(smaller, smaller), mode="bilinear", antialias=True)
    pixels = pixels.clone()
    pixels[chosen] = functional.interpolate(low, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
    return pixels


def filtered(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Make frequencies stronger or weaker, other ones in each direction; the mean grey stays."""
    n, height, width = pixels.shape
    used = torch.rand(n, generator=generator, device=pixels.device) < FILTERED
    knots = torch.stack([_uniform(n * BANDS, -most, most, generator).view(n, BANDS) for most in (FILTER, TILT, TILT)])
    knots = knots * used[:, None]
    y = torch.fft.fftfreq(height, device=pixels.device)[:, None]
    x = torch.fft.rfftfreq(width, device=pixels.device)[None]
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    place = ((radius.clamp(LOWEST).log() - math.log(LOWEST)) / math.log(0.5 / LOWEST) * (BANDS - 1)).clamp(0, BANDS - 1)
    below = place.long().clamp(max=BANDS - 2)
    part = place - below
    level, along, across = knots[:, :, below] * (1 - part) + knots[:, :, below + 1] * part  # each (N, H, W // 2 + 1)
    gains = torch.exp(level + along * torch.cos(2 * angle) + across * torch.sin(2 * angle))
    gains[:, 0, 0] = 1
    return torch.fft.irfft2(torch.fft.rfft2(pixels) * gains, s=(height, width))


def _expose(pixels: Tensor, generator: torch.Generator) -> Tensor:
    n = len(pixels)
    gamma = torch.exp(_uniform(n, -GAMMA, GAMMA, generator)).view(n, 1, 1)
    contrast = torch.exp(_uniform(n, -CONTRAST, CONTRAST, generator)).view(n, 1, 1)
    brightness = _uniform(n, -BRIGHTNESS, BRIGHTNESS, generator).view(n, 1, 1)
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device) * _uniform(
        n, 0, NOISE, generator
    ).view(n, 1, 1)
    pixels = pixels.clamp(0, 1).pow(gamma)
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    return ((pixels - mean) * contrast + mean + brightness + noise).clamp(0, 1)


def _erase(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Paint one rectangle of a random grey in some images."""
    n, height, width = pixels.shape
    use = (torch.rand(n, generator=generator, device=pixels.device) < ERASE).view(n, 1, 1)
    size = _uniform(2 * n, 0.08, 0.3, generator).view(2, n, 1)
    centre = torch.rand(2, n, 1, generator=generator, device=pixels.device)
    inside_y = ((torch.arange(height, device=pixels.device) / height)[None] - centre[0]).abs() < size[0] / 2
    inside_x = ((torch.arange(width, device=pixels.device) / width)[None] - centre[1]).abs() < size[1] / 2
    grey = torch.rand(n, 1, 1, generator=generator, device=pixels.device)
    return torch.where(use & inside_y[:, :, None] & inside_x[:, None, :], grey, pixels)
