"""`draw`: one call from a seed to a chest radiograph with its findings and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.errors import ConfigError
from cxrzero.maths import AnyFloats
from cxrzero.phantom import lesions
from cxrzero.phantom.anatomy import Anatomy, ViewPosition, sample_anatomy
from cxrzero.phantom.bones import draw_ribs, draw_shoulders, draw_spine
from cxrzero.phantom.detector import BONE_EXCESS, METAL, WATER, Look, collimate, develop, expose, sample_look
from cxrzero.phantom.devices import draw_device, draw_marker
from cxrzero.phantom.findings import DEVICES, Finding, labels_of, report_of
from cxrzero.phantom.frame import FIELD_HEIGHT, FIELD_WIDTH, Frame, ramp
from cxrzero.phantom.thorax import LEFT, RIGHT, Lung, draw_airways, draw_body, draw_heart, draw_lung, draw_stomach
from cxrzero.phantom.vessels import draw_vessels

MAX_SIZE = 4096
# The patient is drawn at no more than this many pixels a side and enlarged: at 40 cm a pixel is then 0.4 mm, near the
# blur of a 1.2 mm focal spot, so there is little finer detail to draw. Noise is added at full size.
MAX_DRAWN = 1024


@dataclass(frozen=True)
class Phantom:
    """An invented chest radiograph and everything that is true of it.

    Attributes:
        pixels: (H, W) uint16 over the whole range 0…65535, bright = dense.
        findings: what was drawn into it; empty for a normal chest.
        report: true sentences about it, findings first, then pertinent negatives.
        view_position: "PA" or "AP".
        anatomy: the measures it was drawn from.
        look: the detector and display that it was drawn with.
        frame: where patient millimetres fall in `pixels`.
        seed: what it was drawn from.
    """

    pixels: npt.NDArray[np.uint16]
    findings: tuple[Finding, ...]
    report: tuple[str, ...]
    view_position: ViewPosition
    anatomy: Anatomy
    look: Look
    frame: Frame
    seed: int

    @property
    def labels(self) -> dict[str, bool]:
        """Label → present, for every label of `findings.LABELS`."""
        return labels_of(self.findings)

    def to_uint8(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8, rounded."""
        return ((self.pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def draw(
    seed: int,
    size: int | tuple[int, int] = 512,
    findings: Sequence[Finding] = (),
    *,
    view_position: ViewPosition = "PA",
    look: Look | None = None,
    marker: bool = True,
) -> Phantom:
    """Draw a chest radiograph.

    The same seed gives the same person, position and look whatever the size and the findings, so a phantom with and
    without a finding differ by that finding alone.

    Args:
        seed: non-negative.
        size: pixels a side, or (height, width); 32 to 4096.
        findings: what to draw in; none for a normal chest.
        view_position: "PA" (upright) or "AP" (bedside: lying, poor inspiration, shoulder blades over the lungs).
        look: detector and display; None draws one from the seed.
        marker: whether a lead letter R or L lies on the film.

    Raises:
        ConfigError: size or seed out of range, or the same kind of finding twice on one side.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if not (32 <= height <= MAX_SIZE and 32 <= width <= MAX_SIZE):
        raise ConfigError(f"a phantom is 32 to {MAX_SIZE} pixels a side, not {height} × {width}")
    if seed < 0:
        raise ConfigError(f"a phantom's seed is not negative, {seed} is")
    keys = [(f.name, f.side, f.zone) for f in findings]
    if len(set(keys)) < len(keys):
        raise ConfigError("the same finding is given twice")

    enlarged = next((f.severity for f in findings if f.name == "cardiomegaly"), None)
    anatomy = sample_anatomy(seed, view_position, enlarged)
    rng = np.random.default_rng([seed, 5])
    look = sample_look(rng) if look is None else look
    frame = _place(anatomy, height, width, rng)
    shrink = min(1.0, MAX_DRAWN / max(height, width))
    drawn = Frame(round(height * shrink), round(width * shrink), frame.mm_per_px / shrink, frame.centre, frame.angle)
    depth = _attenuation(drawn, anatomy, tuple(findings), view_position)
    if marker:
        marks = np.random.default_rng([seed, 6])
        depth = depth + METAL * draw_marker(drawn, "L" if marks.uniform() < 0.6 else "R", marks)
    if shrink < 1:
        depth = np.asarray(Image.fromarray(depth).resize((width, height), Image.Resampling.BICUBIC))
    measured = expose(depth, frame.mm_per_px, look, np.random.default_rng([seed, 7]))
    grey = collimate(develop(measured, look), look)
    pixels = np.rint(grey * np.float32(65535)).astype(np.uint16)
    report = report_of(findings, np.random.default_rng([seed, 8]))
    return Phantom(pixels, tuple(findings), report, view_position, anatomy, look, frame, seed)


def _place(anatomy: Anatomy, height: int, width: int, rng: np.random.Generator) -> Frame:
    """Position the patient: the whole chest in the field, never quite centred or straight."""
    zoom = rng.uniform(0.92, 1.10) * 2 * anatomy.half_width / 276
    middle = (anatomy.apex_y + max(anatomy.costophrenic_y)) / 2
    return Frame(
        height,
        width,
        max(FIELD_HEIGHT / height, FIELD_WIDTH / width) * zoom,
        (rng.normal(0, 5), middle + rng.uniform(-8, 14)),
        np.deg2rad(rng.normal(0, 1.3)),
    )


def _attenuation(
    frame: Frame, anatomy: Anatomy, findings: tuple[Finding, ...], view_position: ViewPosition
) -> AnyFloats:
    """(H, W) sum of path length × attenuation over all tissues."""
    tissue = np.random.default_rng([anatomy.seed, 9])
    body = draw_body(frame, anatomy)
    body = body * (1 + 0.022 * frame.texture(tissue, 9, 4))
    heart = draw_heart(frame, anatomy)
    airways = draw_airways(frame, anatomy)
    gas = draw_stomach(frame, anatomy, tissue)
    for side in (RIGHT, LEFT):
        lung, soft = _sick_lung(frame, anatomy, side, findings)
        # What fills the lung takes the place of its air; the heart rests on the diaphragm and fills nothing below it.
        lung_air = np.maximum(lung.air - heart * ramp(8 - lung.below_dome, 8) - soft, 0) * np.float32(lesions.LUNG_AIR)
        body = body - lung_air * (1 + 0.03 * frame.texture(tissue, 4, 3))
    body = np.maximum(body - airways - gas, 0)
    bone = draw_ribs(frame, anatomy) + draw_spine(frame, anatomy) + draw_shoulders(frame, anatomy, view_position)
    bone *= np.minimum(body / 40, 1)
    depth = WATER * body + BONE_EXCESS * bone
    for finding in findings:
        if finding.name in DEVICES:
            depth = depth + METAL * draw_device(frame, anatomy, finding.name)
    return depth.astype(np.float32)


def _sick_lung(frame: Frame, anatomy: Anatomy, side: int, findings: tuple[Finding, ...]) -> tuple[Lung, AnyFloats]:
    """One lung after all its diseases, and the soft tissue (vessels, nodules, pleura) within it."""
    lung = draw_lung(frame, anatomy, side)
    blood, bronchi = draw_vessels(frame, anatomy, side)
    extra = np.zeros_like(blood)
    for finding in findings:
        if finding.sign not in (0, side):
            continue
        rng = np.random.default_rng([anatomy.seed, 10, side + 1])
        match finding.name:
            case "pneumonia" | "consolidation":
                lesions.consolidate(frame, anatomy, lung, bronchi, finding, rng)
            case "edema":
                lesions.edema(frame, anatomy, lung, blood, finding.severity, rng)
            case "nodule":
                extra += lesions.nodule(frame, anatomy, lung, finding, rng)
            case "pneumothorax":
                extra += lesions.pneumothorax(frame, anatomy, lung, blood, finding.severity)
            case "pleural effusion":
                lesions.effusion(frame, anatomy, lung, finding.severity, rng)
            case _:
                pass
    return lung, np.float32(1 / lesions.LUNG_AIR) * (2.3 * blood + extra)
