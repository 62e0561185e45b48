"""What disease does to the lungs: each function takes air away, or lets it in where the lung has collapsed.

Air maps are mm of lung along the beam (see `thorax`). `blood` is the vessels' path length and is changed in place where
a disease hides or swells them.
"""

from __future__ import annotations

import numpy as np

from cxrzero.maths import AnyFloats
from cxrzero.phantom.anatomy import Anatomy
from cxrzero.phantom.findings import Finding, Zone
from cxrzero.phantom.frame import Frame, ellipsoid, ramp
from cxrzero.phantom.thorax import Lung, lung_edges
from cxrzero.phantom.vessels import hilum

# A lung is about three quarters air at full inspiration; the free air of a pneumothorax is all air.
LUNG_AIR = 0.75


def effusion(frame: Frame, anatomy: Anatomy, lung: Lung, severity: float, rng: np.random.Generator) -> None:
    """Fluid in the pleural space: level in the middle, rising along the chest wall (the meniscus).

    Lying down it spreads behind the lung and veils it from below upwards.
    """
    depth = 10 + 140 * severity**1.3
    level = lung.base_y - depth
    wall = np.maximum(lung.wall, 0)
    climb = (22 + 50 * severity) * np.exp(-wall / 20)
    climb += 8 * np.exp(-(((lung.wall - 0.84 * anatomy.half_width) / 14) ** 2))  # and a little along the mediastinum
    edge = level - climb + 2.5 * frame.texture(rng, 40, 2)
    filled = ramp(frame.y - edge - 4, 12)
    if not anatomy.upright:
        veil = 0.55 * severity**0.6 * ramp(frame.y - (lung.base_y - 200), 260)
        filled = np.maximum(filled * (0.75 + 0.25 * severity), veil)
    lung.air *= 1 - 0.94 * filled


def pneumothorax(frame: Frame, anatomy: Anatomy, lung: Lung, blood: AnyFloats, severity: float) -> AnyFloats:
    """Free air between lung and chest wall: black, without vessels, inside it the thin white line of the pleura.

    Returns:
        (H, W) mm of tissue of the visceral pleura.
    """
    x0, y0 = hilum(anatomy, lung.side)
    # The lung shrinks towards its hilum; a small pneumothorax leaves the base against the wall.
    kept = np.float32(0.95 - 0.55 * severity)
    base = ramp(frame.y - np.float32((y0 + lung.base_y) / 2), lung.base_y - y0)
    across = kept + (1 - kept) * base * np.float32(1 - severity)
    x = np.abs(np.float32(x0)) + (frame.x * np.float32(lung.side) - np.abs(np.float32(x0))) / across
    y = np.where(frame.y < y0, y0 + (frame.y - y0) / kept, frame.y).astype(np.float32)
    lateral, medial, cap = lung_edges(anatomy, lung.side, y)
    # Near its top the lung ends on both sides; lower down it stays attached to the mediastinum.
    inside = np.minimum(lateral - x, x - medial + 90 * cap**3)
    inside = np.where(cap > 0, inside, -np.hypot(y - lung.apex_y, x - lateral))
    slope_y, slope_x = np.gradient(inside)
    inside = inside / np.maximum(np.hypot(slope_x, slope_y) / np.float32(frame.mm_per_px), np.float32(0.3))
    free = ramp(-inside, 2 * max(1.0, frame.mm_per_px))
    thin = np.float32(max(0.8, frame.mm_per_px))
    pleura: AnyFloats = (8.0 / thin) * np.exp(-((inside / thin) ** 2)) * ramp(lung.air - 12, 8)
    blood *= 1 - free
    lung.air *= free / np.float32(LUNG_AIR) + (1 - free) * np.float32(1 - 0.35 * severity)
    return pleura


def consolidate(
    frame: Frame, anatomy: Anatomy, lung: Lung, bronchi: AnyFloats, finding: Finding, rng: np.random.Generator
) -> None:
    """Airspace filled with fluid: patchy for pneumonia, dense with an air bronchogram for consolidation."""
    dense = finding.name == "consolidation"
    x, y = zone_centre(anatomy, lung, finding.zone, rng)
    size = (0.17 + 0.20 * finding.severity) * anatomy.half_width * (1.1 if dense else 1.25)
    cos, sin = np.cos(tilt := rng.uniform(-0.5, 0.5)), np.sin(tilt)
    dx, dy = frame.x - np.float32(x), frame.y - np.float32(y)
    a = (dx * cos + dy * sin) / (size * rng.uniform(1.0, 1.35))
    b = (dy * cos - dx * sin) / (size * rng.uniform(0.75, 1.0))
    reach = 1 - np.sqrt(a * a + b * b) + (0.14 if dense else 0.30) * frame.texture(rng, 7, 4)
    fill = ramp(reach - 0.15, 0.55 if dense else 0.9) * (0.45 + 0.4 * finding.severity + 0.12 * dense)
    if not dense:
        fill = fill * np.clip(0.85 + 0.22 * frame.texture(rng, 5, 3), 0.3, 1.15)
    lung.air *= 1 - np.clip(fill, 0, 0.95)
    lung.air += 0.9 * np.minimum(bronchi, 6) * np.clip(fill, 0, 1) * (lung.air > 0)


def edema(
    frame: Frame, anatomy: Anatomy, lung: Lung, blood: AnyFloats, severity: float, rng: np.random.Generator
) -> None:
    """Fluid around the hilum (butterfly), swollen blurred vessels, and at the bases short septal lines (Kerley B)."""
    x, y = hilum(anatomy, lung.side)
    reach = np.hypot((frame.x - np.float32(x * 1.25)) / 62, (frame.y - np.float32(y + 14)) / 84)
    cloud = np.clip(0.9 + 0.35 * frame.texture(rng, 6, 4), 0.2, 1.6)
    haze = (0.16 + 0.45 * severity) * np.exp(-(reach**2)) * cloud + 0.3 * severity * cloud
    blood *= np.float32(1.0 + 0.15 * severity)
    lung.air *= 1 - np.clip(haze, 0, 0.9)
    n = int(4 + 8 * severity)
    start = lung.base_y - 12 - np.sort(rng.uniform(0, 60, n))
    t = np.linspace(0, 1, max(12, int(20 / frame.mm_per_px)))
    edge = lung.side * (anatomy.half_width - 2)
    blood += frame.tube(edge - lung.side * np.outer(rng.uniform(9, 16, n), t), start[:, None] + 0 * t, 0.9)


def nodule(frame: Frame, anatomy: Anatomy, lung: Lung, finding: Finding, rng: np.random.Generator) -> AnyFloats:
    """A round ball of soft tissue, 10 to 32 mm across: its path length in mm."""
    x, y = zone_centre(anatomy, lung, finding.zone, rng)
    radius = 5 + 11 * finding.severity
    ball = ellipsoid(frame, (x, y), (radius, radius * rng.uniform(0.85, 1.0)), radius * 1.5, rng.uniform(0, 3))
    uneven: AnyFloats = ball * np.clip(1 + 0.12 * frame.texture(rng, 4, 2), 0.6, 1.2)
    return uneven


def zone_centre(anatomy: Anatomy, lung: Lung, zone: Zone, rng: np.random.Generator) -> tuple[float, float]:
    """A point of the upper, middle or lower third that is free of heart and mediastinum."""
    third, outward = {"upper": (0.24, 0.50), "mid": (0.50, 0.60), "lower": (0.73, 0.64)}[zone or "mid"]
    outward += 0.06 if lung.side > 0 and zone == "lower" else 0.0  # the heart takes more room on the left
    y = lung.apex_y + (third + rng.uniform(-0.04, 0.04)) * (lung.base_y - lung.apex_y)
    return lung.side * anatomy.half_width * (outward + rng.uniform(-0.06, 0.06)), y
