"""One invented adult's chest: the measures (mm) that everything else is drawn from.

Figures are rounded textbook values for adults, spread as people differ; no scan was measured to obtain them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ViewPosition = Literal["PA", "AP"]


@dataclass(frozen=True)
class Anatomy:
    """Measures of one chest, in mm unless stated; y is counted downwards from the neck (see `Frame`).

    Attributes:
        half_width: half the inner width of the thorax at its widest.
        apex_y: top of the lungs.
        dome_y: top of the right and of the left hemidiaphragm; the right stands 0 to 2 cm higher.
        dome_sag: how far the costophrenic angle lies below the dome.
        recess: how far lung reaches behind the dome.
        depth: front-to-back thickness of the body at mid-chest.
        lung_depth: front-to-back thickness of a lung at mid-chest.
        fat: soft tissue between rib cage and skin at the flank.
        cardiothoracic_ratio: widest heart over `2 * half_width`.
        heart_tilt: angle of the heart's long axis below the horizontal, radians.
        aortic_knob: radius of the aortic arch.
        rib_y, rib_pitch: posterior end of the first rib, and the distance between ribs.
        rib_drop: how far the fifth rib falls from spine to its front end.
        clavicle_y: medial end of the clavicles.
        spine_curve: sideways bow of the spine (scoliosis), signed.
        breast: thickness of the breasts, 0 for none.
        arm: distance of the arms from the trunk.
        stomach_gas: half-width of the gastric bubble, 0 for none.
        upright: whether fluid and gas lie level (PA) or not (most AP).
        seed: of the streams that place vessels and texture.
    """

    half_width: float
    apex_y: float
    dome_y: tuple[float, float]
    dome_sag: float
    recess: float
    depth: float
    lung_depth: float
    fat: float
    cardiothoracic_ratio: float
    heart_tilt: float
    aortic_knob: float
    rib_y: float
    rib_pitch: float
    rib_drop: float
    clavicle_y: float
    spine_curve: float
    breast: float
    arm: float
    stomach_gas: float
    upright: bool
    seed: int

    @property
    def costophrenic_y(self) -> tuple[float, float]:
        """Lowest point of the right and of the left lung at the chest wall."""
        return self.dome_y[0] + self.dome_sag, self.dome_y[1] + self.dome_sag


def sample_anatomy(seed: int, view_position: ViewPosition, cardiomegaly: float | None) -> Anatomy:
    """Draw a chest.

    Args:
        seed: the same seed gives the same person whatever the findings and the view.
        view_position: bedside AP films show a poorer inspiration and a magnified heart.
        cardiomegaly: severity 0…1 of an enlarged heart; None for a normal one. A normal heart has a cardiothoracic
            ratio of 0.40–0.48, an enlarged one of 0.54–0.70 (the usual limit is 0.50).
    """
    rng = np.random.default_rng([seed, 1])
    half_width = rng.uniform(128, 148)
    apex_y = rng.uniform(56, 66)
    right_dome = apex_y + half_width * rng.uniform(1.55, 1.78)
    dome_gap = rng.uniform(4, 16)
    body = rng.uniform(0, 1)  # slim … stout
    normal_ratio = rng.uniform(0.40, 0.48)
    female = rng.uniform() < 0.45
    bedside = view_position == "AP"
    if bedside:
        right_dome -= rng.uniform(5, 22)
    ratio = normal_ratio if cardiomegaly is None else 0.54 + 0.16 * float(np.clip(cardiomegaly, 0, 1))
    return Anatomy(
        half_width=half_width,
        apex_y=apex_y,
        dome_y=(right_dome, right_dome + dome_gap),
        dome_sag=rng.uniform(34, 52),
        recess=rng.uniform(26, 48),
        depth=185 + 75 * body + rng.normal(0, 6),
        lung_depth=rng.uniform(140, 165),
        fat=12 + 30 * body * rng.uniform(0.5, 1.2),
        cardiothoracic_ratio=ratio,
        heart_tilt=np.deg2rad(rng.uniform(28, 46)),
        aortic_knob=rng.uniform(13, 20),
        rib_y=apex_y - rng.uniform(2, 8),
        rib_pitch=half_width * rng.uniform(0.165, 0.185),
        rib_drop=rng.uniform(80, 125),
        clavicle_y=apex_y + rng.uniform(14, 30),
        spine_curve=rng.normal(0, 3.5),
        breast=rng.uniform(8, 24) if female else 0.0,
        arm=rng.uniform(4, 40),
        stomach_gas=rng.uniform(16, 34) if rng.uniform() < 0.85 else 0.0,
        upright=not bedside,
        seed=seed,
    )
