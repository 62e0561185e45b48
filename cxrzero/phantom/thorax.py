"""Soft tissue and air: the body's outline, lungs, heart and great vessels, stomach.

All maps are path lengths in mm along the beam. Water-like tissue is drawn by taking air away from the lungs, so a
border shows only where it touches lung: the silhouette sign of real films comes out by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxrzero.maths import AnyFloats
from cxrzero.phantom.anatomy import Anatomy
from cxrzero.phantom.frame import Frame, ellipsoid, profile, ramp

RIGHT, LEFT = -1, 1  # patient's side as sign of x


@dataclass
class Lung:
    """One lung in projection.

    Attributes:
        side: RIGHT or LEFT.
        air: (H, W) mm of lung along the beam.
        wall: (H, W) distance to the lateral chest wall, mm, positive inside.
        below_dome: (H, W) how far a pixel lies below the diaphragm's edge, mm.
        apex_y, base_y: top, and deepest point at the chest wall.
    """

    side: int
    air: AnyFloats
    wall: AnyFloats
    below_dome: AnyFloats
    apex_y: float
    base_y: float


def chest_wall(anatomy: Anatomy, y: AnyFloats) -> AnyFloats:
    """Half the inner width of the thorax at height y."""
    top, base = anatomy.apex_y, max(anatomy.costophrenic_y)
    length = base - top
    knots = [(0.0, 0.60), (0.12, 0.74), (0.3, 0.89), (0.55, 0.975), (0.8, 1.0), (1.0, 0.985), (1.25, 0.96)]
    wall = profile([(top + v * length, w * anatomy.half_width) for v, w in knots], window=0.16)
    return wall(y)


def spine_x(anatomy: Anatomy, y: AnyFloats) -> AnyFloats:
    """Sideways position of the spine: one gentle bow."""
    middle = (anatomy.apex_y + anatomy.dome_y[0]) / 2
    return (anatomy.spine_curve * np.cos((y - middle) / 110)).astype(np.float32)


def draw_body(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    """Thickness of the patient from skin to skin."""
    x, y = np.abs(frame.x), frame.y
    axilla = anatomy.apex_y + 70
    # Chest and back muscles keep the flank straight up to the armpit, where the rib cage already narrows.
    wall = np.maximum(chest_wall(anatomy, y), np.float32(0.97 * anatomy.half_width)) + 12 + np.float32(anatomy.fat)
    waist = 1 + 0.0006 * anatomy.fat * np.maximum(y - max(anatomy.dome_y), 0) / 10
    relative = profile([(0, 0.55), (60, 0.74), (130, 0.96), (220, 1.0), (340, 0.98), (430, 0.96)], window=0.2)
    depth = relative(y) * np.float32(anatomy.depth)
    trunk = depth * _slab(x / (wall * waist)) * ramp(y - axilla + 45, 80)
    trunk = np.maximum(trunk, depth * _slab(x / (0.8 * wall)) * ramp(y - anatomy.apex_y + 20, 90))

    neck = np.float32(118) * np.sqrt(np.maximum(1 - (x / 56) ** 2, 0)) * ramp(110 - y, 120)
    shoulder_edge = profile([(0, -70), (40, -30), (60, 4), (100, 25), (150, 38), (190, 58), (240, 140)], window=0.1)(x)
    girdle = np.sqrt(np.clip((y - shoulder_edge) / 60, 0, 1)) * np.float32(150)
    girdle *= ramp(axilla + 10 + 0.35 * (x - 120) - y, 90)

    arm_x = np.float32(anatomy.half_width + anatomy.fat + anatomy.arm + 46) + 0.05 * (y - axilla)
    arm_radius = np.float32(40 + 0.25 * anatomy.fat)
    arm = 2 * np.sqrt(np.maximum(arm_radius**2 - (x - arm_x) ** 2, 0)) * ramp(y - axilla + 40, 90)
    # A 4-norm lets the parts blend where they meet instead of creasing.
    body = np.sqrt(np.sqrt(sum(np.square(part * part) for part in (trunk, girdle, neck, arm))))
    if anatomy.breast:
        for side in (RIGHT, LEFT):
            centre = (side * 0.60 * anatomy.half_width, anatomy.dome_y[0] - 40)
            mound = ellipsoid(frame, centre, (70, 66), anatomy.breast / 2)
            # A breast hangs: its lower margin is sharp, its upper one fades out.
            body = body + mound * ramp(frame.y - (centre[1] - 40), 90)
    return body


def lung_edges(anatomy: Anatomy, side: int, y: AnyFloats) -> tuple[AnyFloats, AnyFloats, AnyFloats]:
    """Lateral and medial border of a lung at height y (mm from the midline); how far its round apex has opened, 0…1."""
    left = side == LEFT
    apex, base, dome = anatomy.apex_y + (3 if left else 0), anatomy.costophrenic_y[left], anatomy.dome_y[left]
    cap = np.clip((y - apex) / 62, 0, 1)
    cap = np.sqrt(1 - (1 - cap) ** 2)
    lateral = chest_wall(anatomy, y)
    medial = profile([(apex, 20), (apex + 60, 23), (apex + 100, 24), (dome - 60, 19), (dome, 15), (base, 14)])(y)
    medial = medial + np.float32(side) * spine_x(anatomy, y)
    summit = np.float32(0.37 * anatomy.half_width)
    return summit + (lateral - summit) * cap, summit - (summit - medial) * cap, cap


def _slab(u: AnyFloats) -> AnyFloats:
    """Relative thickness of a flat, round-edged cross-section at u half-widths from its middle: sqrt(1 − u⁴)."""
    u = u * u
    return np.sqrt(np.maximum(1 - u * u, 0))


def draw_lung(frame: Frame, anatomy: Anatomy, side: int) -> Lung:
    """One normal lung without its vessels."""
    x, y = frame.x * np.float32(side), frame.y
    left = side == LEFT
    apex, base = anatomy.apex_y + (3 if left else 0), anatomy.costophrenic_y[left]
    dome = anatomy.dome_y[left]
    lateral, medial, cap = lung_edges(anatomy, side, y)
    half = np.maximum((lateral - medial) / 2, np.float32(1e-3))
    u = (x - (lateral + medial) / 2) / half
    thickness = profile([(apex, 0.45), (apex + 60, 0.8), (apex + 130, 1.0), (base, 0.95)])(y)
    air = thickness * np.float32(anatomy.lung_depth) * _slab(u) * cap * (y > apex)

    peak = np.float32((0.48 if left else 0.44) * anatomy.half_width)
    flank = np.clip((x - peak) / (np.float32(anatomy.half_width) - peak), -1.2, 1.05)
    sag = np.where(flank > 0, np.float32(anatomy.dome_sag) * flank**2 * (0.55 + 0.45 * flank), 20 * flank**2)
    below = y - (np.float32(dome) + sag)
    # Below the dome's edge lung remains only behind the dome, which leaves less the deeper and the more medial it lies.
    hidden = np.float32(0.4) + np.float32(0.5) * ramp(peak + 20 - x, 50)
    air = air * (1 - np.sqrt(np.clip(below / np.float32(anatomy.recess), 0, 1))) * (1 - hidden * ramp(below - 2, 4))
    return Lung(side, air, lateral - x, below, apex, base)


def draw_heart(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    """Heart and great vessels, mm along the beam; the heart is as wide as the cardiothoracic ratio says."""
    width = anatomy.cardiothoracic_ratio * 2 * anatomy.half_width
    to_left = 0.66 * width  # two thirds of the heart lie left of the midline
    long_axis, short_axis = 1.0, 0.74
    tilt = anatomy.heart_tilt
    extent = np.hypot(long_axis * np.cos(tilt), short_axis * np.sin(tilt))
    scale = width / 2 / extent
    rise = np.hypot(long_axis * np.sin(tilt), short_axis * np.cos(tilt)) * scale
    centre = (to_left - width / 2, anatomy.dome_y[1] + 12 - 0.68 * rise)
    heart = ellipsoid(frame, centre, (long_axis * scale, short_axis * scale), 0.62 * scale + 12, tilt)

    knob = anatomy.aortic_knob
    arch_y = anatomy.apex_y + 68
    middle = (arch_y + centre[1]) / 2
    parts = [
        ellipsoid(frame, (17.0, arch_y), (knob + 5, knob + 3), 26),  # aortic arch, end on
        ellipsoid(frame, (20.0, middle - 4), (19.0, 24), 22),  # pulmonary trunk
        ellipsoid(frame, (-12.0, middle + 4), (20.0, 52), 30),  # ascending aorta and superior vena cava
        ellipsoid(frame, (-14.0, centre[1] + 0.1 * rise), (width * 0.34 - 14, 0.72 * rise), 30, 0.1),  # right atrium
        ellipsoid(frame, (13.0, centre[1] - 10), (knob - 1, 150.0), 12),  # descending aorta
    ]
    for part in parts:
        heart = np.maximum(heart, part)
    return heart


def draw_airways(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    """Air in trachea and main bronchi, mm."""
    carina_y = anatomy.apex_y + 92
    y = np.linspace(-60, carina_y, 500)
    sway = 3.0 * np.clip((y - anatomy.apex_y) / 70, 0, 1)
    trachea = frame.tube(-sway, y, 8.0)
    t = np.linspace(0, 1, 200)
    right = frame.tube(-3 - 30 * t, carina_y + 44 * t, 6.5 - 1.5 * t)
    left = frame.tube(-3 + 48 * t, carina_y + 40 * t, 6.0 - 1.5 * t)
    return trachea + 0.8 * (right + left)


def draw_stomach(frame: Frame, anatomy: Anatomy, rng: np.random.Generator) -> AnyFloats:
    """Gas under the left hemidiaphragm (and sometimes in the colon), mm."""
    gas = np.zeros((frame.height, frame.width), np.float32)
    radius = anatomy.stomach_gas
    if radius:
        top = anatomy.dome_y[1] + 9
        height = radius * rng.uniform(0.5, 0.75)
        centre = (0.42 * anatomy.half_width + rng.uniform(-8, 12), top + height)
        bubble = ellipsoid(frame, centre, (radius, height), 0.75 * radius)
        if anatomy.upright:
            bubble = bubble * ramp(centre[1] + 0.35 * height - frame.y, 3)  # level of fluid
        gas += bubble
    for _ in range(int(rng.integers(0, 5))):
        size = rng.uniform(8, 20)
        centre = (rng.choice([-1, 1]) * rng.uniform(20, 120), max(anatomy.dome_y) + rng.uniform(60, 110))
        gas += ellipsoid(frame, centre, (size, size * rng.uniform(0.5, 0.9)), size * 0.6, rng.uniform(-0.6, 0.6))
    return gas
