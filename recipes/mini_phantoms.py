"""Draws phantoms for training cxrzero-mini, with exact words, sides and devices, which the real labels lack."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from cxrzero.phantom import Finding, draw, sample_findings
from cxrzero.phantom.findings import SIDED, ZONED

SIDE = 192  # pixels; the model sees 128
FIRST_SEED = 1_000_000  # apart from the seeds of examples, tests and benchmarks
LABELS = (
    "pleural effusion", "pneumonia", "consolidation", "cardiomegaly", "pneumothorax", "edema", "nodule",
    "lung opacity", "endotracheal tube", "central line", "pacemaker",
)  # fmt: skip
OTHER = {"left": "right", "right": "left"}


def findings_of(seed: int) -> tuple[Finding, ...]:
    """What is drawn for a seed; the phantom is drawn again from the same seed."""
    return sample_findings(np.random.default_rng([seed, 1]))


def draw_all(folder: Path, count: int, workers: int = 2) -> list[str]:
    """Draw the phantoms that are not there yet; returns their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [FIRST_SEED + n for n in range(count)]
    missing = [seed for seed in seeds if not (folder / f"{seed}.png").exists()]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_draw_one, [folder] * len(missing), missing, chunksize=16))
    return [f"{seed}.png" for seed in seeds]


def _draw_one(folder: Path, seed: int) -> None:
    view = "AP" if np.random.default_rng([seed, 2]).uniform() < 0.3 else "PA"
    part = folder / f"{seed}.part"
    Image.fromarray(draw(seed, SIDE, findings_of(seed), view_position=view).to_uint8()).save(part, format="png")
    part.replace(folder / f"{seed}.png")


def statements(seed: int) -> dict[str, float]:
    """Text → weight of everything that is said of a phantom: findings with sides and zones, what is not there."""
    findings = findings_of(seed)
    texts: dict[str, float] = {}
    present = {finding.name for finding in findings}
    opaque = bool(present & {"pneumonia", "consolidation", "edema", "nodule"})
    for label in LABELS:
        if label in present or (label == "lung opacity" and opaque):
            texts |= {label: 1.0, f"chest radiograph with {label}": 0.2}
        else:
            texts |= {f"no {label}": 0.15, f"there is no {label}": 0.05}
    for finding in findings:
        texts |= dict(_sided(finding))
        texts[finding.sentence(0).lower().rstrip(".")] = 0.3
        texts[finding.sentence(1).lower().rstrip(".")] = 0.3
    for name in sorted(SIDED - present):
        texts |= {f"no {side} {name}": 0.05 for side in OTHER}
    texts |= dict.fromkeys(("abnormal", "finding") if findings else ("normal", "no finding"), 0.1)
    return texts


def _sided(finding: Finding) -> Iterator[tuple[str, float]]:
    """Sides and zones in words, and the other side's absence."""
    if finding.name not in SIDED:
        return
    yield f"{finding.side} {finding.name}", 1.0
    yield f"{finding.name} on the {finding.side}", 0.3
    yield f"no {OTHER[finding.side]} {finding.name}", 0.5
    if finding.name in ZONED:
        yield f"{finding.side} {finding.zone} zone {finding.name}", 0.5
