"""Tubes, lines, pacemakers and the side marker, in mm of metal along the beam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cxrzero.maths import AnyFloats
from cxrzero.phantom.anatomy import Anatomy
from cxrzero.phantom.frame import Frame, ellipsoid, path, ramp

# Strokes of the marker's letters on a unit square, y downwards.
LETTERS: dict[str, list[list[tuple[float, float]]]] = {
    "L": [[(0.1, 0.0), (0.1, 1.0)], [(0.1, 1.0), (0.75, 1.0)]],
    "R": [
        [(0.1, 0.0), (0.1, 1.0)],
        [(0.1, 0.0), (0.5, 0.0)],
        [(0.5, 0.0), (0.72, 0.09), (0.8, 0.25), (0.72, 0.41), (0.5, 0.5)],
        [(0.5, 0.5), (0.1, 0.5)],
        [(0.4, 0.5), (0.8, 1.0)],
    ],
}


def draw_device(frame: Frame, anatomy: Anatomy, name: str) -> AnyFloats:
    """The metal of one device, named as in `findings.DEVICES`."""
    return {"endotracheal tube": _tube, "central line": _line, "pacemaker": _pacemaker}[name](frame, anatomy)


def draw_marker(frame: Frame, letter: str, rng: np.random.Generator) -> AnyFloats:
    """A lead letter beside the patient: R on the patient's right (viewer's left), L on the left, upper corner."""
    height = rng.uniform(13, 20)
    side = 1 if letter == "L" else -1
    x0 = side * rng.uniform(0.82, 0.90) * frame.width * frame.mm_per_px / 2 - height * 0.4
    y0 = -rng.uniform(0.78, 0.90) * frame.height * frame.mm_per_px / 2
    tilt = rng.normal(0, 0.08)
    lead = np.zeros((frame.height, frame.width), np.float32)
    # The marker lies on the cassette, so it is placed in the film's axes, not the patient's.
    film = Frame(frame.height, frame.width, frame.mm_per_px, (0.0, 0.0), tilt)
    for stroke in LETTERS[letter]:
        for (ax, ay), (bx, by) in pairwise(stroke):
            t = np.linspace(0, 1, max(8, int(1.3 * height / frame.mm_per_px)))
            x, y = x0 + height * (ax + (bx - ax) * t), y0 + height * (ay + (by - ay) * t)
            lead = np.maximum(lead, film.tube(x, y, height * 0.09))
    return 6 * np.minimum(lead, 1.5)


def _tube(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    end = anatomy.apex_y + 50
    y = np.linspace(-60, end, 600)
    x = -3.0 * np.clip((y - anatomy.apex_y) / 70, 0, 1)
    # Plastic with a radio-opaque stripe along one side.
    return 0.06 * frame.tube(x, y, 4.6, wall=1.2) + 0.5 * frame.tube(x + 3.4, y, 0.7)


def _line(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    top = anatomy.apex_y
    x, y = path([(-62, -50), (-48, top - 20), (-34, top + 18), (-25, top + 60), (-24, top + 104)], frame.mm_per_px)
    return 0.25 * frame.tube(x, y, 1.3)


def _pacemaker(frame: Frame, anatomy: Anatomy) -> AnyFloats:
    x0, y0 = 0.80 * anatomy.half_width, anatomy.clavicle_y + 30
    case = ramp(ellipsoid(frame, (x0, y0), (23, 20), 1) - 0.4, 0.4) * 5
    metal = case + ramp(ellipsoid(frame, (x0, y0 + 5), (15, 9), 1) - 0.5, 0.4) * 6
    heart_y = anatomy.dome_y[1]
    for tip in ((-26.0, heart_y - 62), (38.0, heart_y - 14)):
        x, y = path(
            [(x0 - 8, y0 - 18), (x0 - 45, y0 - 44), (2, y0 + 4), (-24, y0 + 60), (-30, heart_y - 50), tip],
            frame.mm_per_px,
        )
        metal = metal + 0.5 * frame.tube(x, y, 0.9)
        metal = metal + 1.5 * frame.tube(x[-14:], y[-14:], 1.3)
    return metal
