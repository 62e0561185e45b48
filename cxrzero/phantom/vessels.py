"""Pulmonary arteries and veins: a tree that starts at each hilum, branches, tapers and reaches into the lung."""

from __future__ import annotations

import numpy as np

from cxrzero.maths import AnyFloats
from cxrzero.phantom.anatomy import Anatomy
from cxrzero.phantom.frame import Frame, Points
from cxrzero.phantom.thorax import LEFT

# (children per branch, length and radius relative to the parent)
LEVELS = ((5, 0.55, 0.62), (3, 0.55, 0.66), (2, 0.6, 0.7))


def hilum(anatomy: Anatomy, side: int) -> tuple[float, float]:
    """Where the vessels enter, mm; the left hilum stands about 1 cm higher."""
    return side * 33.0, anatomy.apex_y + (100 if side == LEFT else 112)


def draw_vessels(frame: Frame, anatomy: Anatomy, side: int) -> tuple[AnyFloats, AnyFloats]:
    """Blood along the beam in one lung, mm, and the air of the larger bronchi that run beside the vessels.

    The bronchi show only where the lung around them is filled (an air bronchogram).
    """
    rng = np.random.default_rng([anatomy.seed, 2, side + 1])
    x0, y0 = hilum(anatomy, side)
    # Directions fan out from straight up to straight down; the lower zones receive more blood (gravity).
    angle = np.deg2rad(np.array([-78, -58, -40, -22, -4, 14, 30, 44, 57, 70, 84]) + rng.normal(0, 5, 11))
    length = np.array([62, 78, 86, 88, 92, 96, 104, 112, 116, 112, 96]) * rng.uniform(0.85, 1.1, 11)
    radius = np.array([2.0, 2.0, 1.9, 1.8, 1.9, 2.1, 2.4, 2.6, 2.8, 3.2, 3.0]) * rng.uniform(0.8, 1.15, 11)
    x = x0 + side * rng.uniform(-6, 6, 11)
    y = y0 + np.linspace(-18, 24, 11)
    # The descending pulmonary artery, about 15 mm wide at the hilum.
    t = np.linspace(0, 1, 160)
    trunk = frame.tube(side * (16 + 30 * t), y0 - 8 + 66 * t, 7.5 * np.sqrt(1 - t) + 0.5)
    blood, bronchi = trunk, np.zeros_like(trunk)
    for depth in range(len(LEVELS) + 1):
        px, py, taper, heading = _branches(rng, x, y, angle, length, side, frame.mm_per_px)
        blood = blood + frame.tube(px, py, np.maximum(radius[:, None] * taper, 0.35))
        if depth < 2:
            bronchi = bronchi + frame.tube(px + 3.2, py + 2.0, np.maximum(0.9 * radius[:, None] * taper, 0.4))
        if depth == len(LEVELS):
            break
        children, shorter, thinner = LEVELS[depth]
        parent = np.repeat(np.arange(len(angle)), children)
        at = rng.uniform(0.22, 0.95, len(parent))
        k = (at * (px.shape[1] - 1)).astype(int)
        x, y = px[parent, k], py[parent, k]
        turn = rng.choice([-1, 1], len(parent)) * np.deg2rad(rng.uniform(22, 58, len(parent)))
        angle = heading[parent, k] + turn
        length = length[parent] * shorter * rng.uniform(0.7, 1.2, len(parent))
        radius = radius[parent] * taper[0, k] * thinner * rng.uniform(0.8, 1.2, len(parent))
    return blood, bronchi


def _branches(
    rng: np.random.Generator, x: Points, y: Points, angle: Points, length: Points, side: int, mm_per_px: float
) -> tuple[Points, Points, Points, Points]:
    """Gently bending lines: (n, k) x, y, (1, k) taper and (n, k) heading; angles count from lateral, down positive."""
    n, k = len(x), max(12, int(length.max() / mm_per_px / 0.9))
    t = np.linspace(0, 1, k)
    bend = rng.normal(0, 0.25, (n, 1)) * t + rng.normal(0, 0.12, (n, 1)) * np.sin(2 * np.pi * t * 1.3)
    heading = angle[:, None] + bend
    step = length[:, None] / k
    px = x[:, None] + side * np.cumsum(np.cos(heading) * step, axis=1)
    py = y[:, None] + np.cumsum(np.sin(heading) * step, axis=1)
    return px, py, (1 - 0.6 * t)[None, :], heading
