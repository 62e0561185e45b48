"""Ribs, spine, clavicles, shoulder blades and upper arms, in mm of compact bone along the beam."""

from __future__ import annotations

import numpy as np

from cxrzero.maths import AnyFloats
from cxrzero.phantom.anatomy import Anatomy, ViewPosition
from cxrzero.phantom.frame import Frame, Points, ellipsoid, path, ramp
from cxrzero.phantom.thorax import LEFT, RIGHT, chest_wall, spine_x

N_RIBS = 11
# Share of compact bone in the spongy inside of a bone; by volume about a fifth.
SPONGY = 0.16


def draw_ribs(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    """Both rib cages: each rib a hollow elliptic tube along a slanting hoop, projected as it lies in space.

    Where a hoop turns forward at the chest wall the beam runs along it, so ribs are brightest there, as on a film.
    """
    rng = np.random.default_rng([anatomy.seed, 3])
    xs, ys, ws = [], [], []
    for rib in range(N_RIBS):
        start_y = anatomy.rib_y + rib * anatomy.rib_pitch + rng.normal(0, 1.2)
        for side in (RIGHT, LEFT):
            height = 6.8 + rng.normal(0, 0.25) + (rib == 0)
            for x, y, mass in _rib(anatomy, rib, side, start_y, height, frame.mm_per_px):
                xs.append(x.ravel())
                ys.append(y.ravel())
                ws.append(mass.ravel())
    return frame.splat(np.concatenate(xs), np.concatenate(ys), np.concatenate(ws))


def _rib(
    anatomy: Anatomy, rib: int, side: int, start_y: float, height: float, mm_per_px: float
) -> list[tuple[Points, Points, Points]]:
    """One rib as clouds of (x, y, mm³): its compact shell and its spongy core."""
    end = np.deg2rad(min(118 + 5 * rib, 148) if rib < 7 else 148 - 17 * (rib - 6))
    # Points nearly a pixel apart on the hoop (a rib is at most about 350 mm long).
    angle = np.linspace(0.10, 1.0, int(380 / mm_per_px)) * end
    drop = anatomy.rib_drop * np.interp(rib, [0, 1, 4, 8, 10], [0.36, 0.62, 1.0, 1.12, 1.1])
    y = start_y + drop * (1 - np.cos(angle)) / 2 - 7 * np.sin(np.minimum(angle * 2.2, np.pi))
    hoop = float(chest_wall(anatomy, np.array([start_y + drop * 0.5]))[0]) + 3.0
    x = side * (hoop * np.sin(angle) ** 0.92 + 4 * np.cos(angle)) + spine_x(anatomy, y.astype(np.float32))
    depth = -0.62 * hoop * np.cos(angle)
    dx, dy, dz = np.gradient(x), np.gradient(y), np.gradient(depth)
    outward = dz / (np.hypot(dx, dz) + 1e-9)  # share of the rib's thickness that is seen from the front
    step = np.sqrt(dx * dx + dy * dy + dz * dz)
    fade = ramp((end - angle) * 40, 8) * np.clip(1.15 - 0.2 * angle, 0.6, 1.0)  # front ends turn to cartilage
    flare = height * (1 + 0.12 * np.clip(angle - 1.6, 0, 1))
    clouds = []
    for size, wall in ((1.0, 0.95), (0.72, SPONGY * 4.5), (0.36, SPONGY * 4.5)):
        phi = np.linspace(0, 2 * np.pi, max(8, int(32 * size / mm_per_px)), endpoint=False)
        ring_x, ring_y = 3.2 * size * np.cos(phi), size * flare[:, None] * np.sin(phi)
        arc = np.hypot(3.2 * size * np.sin(phi), size * flare[:, None] * np.cos(phi)) * (phi[1] - phi[0])
        across = x[:, None] + outward[:, None] * ring_x
        clouds.append((across, y[:, None] + ring_y, (step * fade)[:, None] * arc * wall))
    return clouds


def draw_spine(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    """Vertebral bodies with end plates, pedicles and spinous processes."""
    y = frame.y
    x = frame.x - spine_x(anatomy, y)
    ax = np.abs(x)
    # Vertebrae grow from neck to loin: 17 to 29 mm high with the disc.
    top = anatomy.rib_y - 6
    level = np.where(y < top, (y - top) / 17, 0.0)
    below = np.maximum(y - top, 0)
    level = level + (-20 + np.sqrt(400 + 2 * 0.9 * below)) / 0.9  # pitch(level) = 20 + 0.9 level
    pitch = np.where(y < top, 17.0, 20 + 0.9 * np.maximum(level, 0)).astype(np.float32)
    phase = (level - np.floor(level)).astype(np.float32)
    half = (12 + 0.022 * np.maximum(y, 0)).astype(np.float32)
    waist = half * (0.92 + 0.16 * (2 * phase - 1) ** 2)
    edge = np.minimum(phase, 1 - phase) * pitch  # mm from the nearest disc's middle
    body = ramp(edge - 2.4, 1.6) * ramp(waist - ax, 1.6)
    depth = 22 + 0.03 * np.maximum(y, 0)
    bone = SPONGY * 0.5 * depth * body * np.sqrt(np.maximum(1 - 0.7 * (ax / (waist + 2)) ** 2, 0))
    bone = bone + 1.8 * body * np.exp(-(((edge - 3.4) / 1.0) ** 2))  # end plates
    bone = bone + 1.6 * ramp(edge - 2.4, 2) * np.exp(-(((ax - waist + 1.2) / 1.0) ** 2))  # side walls
    pedicle = np.hypot((ax - 0.62 * half) / 3.6, (phase - 0.36) * pitch / 5.2)
    bone = bone + 2.6 * np.exp(-(((pedicle - 1.0) / 0.28) ** 2)) + 0.6 * (pedicle < 1)
    process = np.hypot(x / 2.6, (phase - 0.8) * pitch / 6.5)
    bone = bone + 2.2 * np.exp(-(((process - 0.9) / 0.35) ** 2))
    transverse = np.exp(-(((phase - 0.3) * pitch / 4.0) ** 2)) * ramp(ax - half, 3) * ramp(half + 15 - ax, 6)
    total: AnyFloats = (bone + 1.3 * transverse).astype(np.float32)
    return total


def draw_shoulders(frame: Frame, anatomy: Anatomy, view_position: ViewPosition) -> AnyFloats:
    """Clavicles, shoulder blades and upper arms. In PA the blades are turned out of the lungs, in AP they overlap."""
    rng = np.random.default_rng([anatomy.seed, 4])
    bone = np.zeros((frame.height, frame.width), np.float32)
    y0, half = anatomy.clavicle_y, anatomy.half_width
    inward = 30.0 if view_position == "AP" else 0.0
    for side in (RIGHT, LEFT):
        tilt = rng.normal(0, 5)
        tip = half + 34
        x, y = path(
            [(10, y0 + 6), (32, y0 - 1), (64, y0 - 14), (100, y0 - 30 - tilt), (tip, y0 - 36 - tilt)], frame.mm_per_px
        )
        radius = np.interp(x, [10, 24, 60, tip - 12, tip], [8.0, 5.8, 5.2, 6.6, 2.5])
        bone += frame.tube(side * x, y, radius, wall=1.6) + 1.6 * SPONGY * frame.tube(side * x, y, radius)

        gx, gy = tip + 4, y0 + 8 - tilt  # glenoid
        blade = [(gx - 4, gy + 14), (gx - 14 - inward * 0.5, gy + 60), (gx - 24 - inward, gy + 104)]
        inner = [(gx - 24 - inward, gy + 104), (gx - 44 - inward, gy + 62), (gx - 54 - inward, gy + 8)]
        for line, thick, wall in ((blade, 4.0, 1.6), (inner, 1.6, 1.0)):
            x, y = path(line, frame.mm_per_px)
            bone += frame.tube(side * x, y, thick, wall=wall)
        ridge_x, ridge_y = path([(gx - 52 - inward, gy + 14), (gx - 20, gy - 8), (gx + 10, gy - 26)], frame.mm_per_px)
        bone += frame.tube(side * ridge_x, ridge_y, np.linspace(2.5, 6.5, len(ridge_x)), wall=1.1)
        bone += 1.4 * _triangle(frame, side, (gx - 4, gy), (gx - 24 - inward, gy + 106), (gx - 54 - inward, gy + 4))
        coracoid = ellipsoid(frame, (side * (gx - 12), gy - 6), (9, 6), 5, side * 0.5)
        bone += 0.3 * coracoid

        hx, hy = gx + 22, gy + 4
        head = ellipsoid(frame, (side * hx, hy), (23, 24), 22)
        bone += SPONGY * head + 0.05 * head * (head < 18)
        x, y = path([(hx + 4, hy + 8), (hx + 9, hy + 60), (hx + 14 + 0.2 * anatomy.arm, hy + 330)], frame.mm_per_px)
        bone += frame.tube(side * x, y, np.interp(y, [hy, hy + 50, hy + 300], [19, 11.5, 11]), wall=3.2)
    return bone


def _triangle(
    frame: Frame, side: int, a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> AnyFloats:
    """1 inside a triangle given in side-positive mm, soft at the edges."""
    x, y = frame.x * np.float32(side), frame.y
    inside = np.ones_like(x)
    turn = np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    for (px, py), (qx, qy) in ((a, b), (b, c), (c, a)):
        length = np.hypot(qx - px, qy - py)
        distance = turn * ((qx - px) * (y - py) - (qy - py) * (x - px)) / length
        inside = inside * ramp(distance.astype(np.float32), 3)
    return inside
