"""What can be wrong with a phantom, and the exact words a report has for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cxrzero.errors import ConfigError

FindingName = Literal[
    "pleural effusion",
    "pneumonia",
    "consolidation",
    "cardiomegaly",
    "pneumothorax",
    "edema",
    "nodule",
    "endotracheal tube",
    "central line",
    "pacemaker",
]
Side = Literal["left", "right", ""]
Zone = Literal["upper", "mid", "lower", ""]

NAMES: tuple[FindingName, ...] = get_args(FindingName)
SIDED = frozenset({"pleural effusion", "pneumonia", "consolidation", "pneumothorax", "nodule"})
ZONED = frozenset({"pneumonia", "consolidation", "nodule"})
DEVICES = frozenset({"endotracheal tube", "central line", "pacemaker"})
# Findings that are, by definition, also another one (the hierarchy of CheXpert, Irvin et al., AAAI 2019).
IMPLIED: dict[str, tuple[str, ...]] = {
    "pneumonia": ("lung opacity",),
    "consolidation": ("lung opacity",),
    "edema": ("lung opacity",),
    "nodule": ("lung opacity",),
}
LABELS = (*NAMES[:7], "lung opacity", *NAMES[7:])

_SIZE = ("small", "moderate", "large")
_GRADE = ("mild", "moderate", "severe")
_POSITIVE: dict[str, tuple[str, ...]] = {
    "pleural effusion": ("{size} {side} pleural effusion.", "There is a {size} pleural effusion on the {side}."),
    "pneumonia": (
        "Patchy opacity in the {side} {zone} zone, suspicious for pneumonia.",
        "{side} {zone} lung pneumonia.",
    ),
    "consolidation": ("{side} {zone} zone consolidation.", "There is consolidation in the {side} {zone} lung."),
    "cardiomegaly": ("{grade} cardiomegaly.", "The heart is enlarged ({grade})."),
    "pneumothorax": ("{size} {side} pneumothorax.", "There is a {size} pneumothorax on the {side}."),
    "edema": ("{grade} pulmonary edema.", "Perihilar haze consistent with {grade} pulmonary edema."),
    "nodule": ("Nodule in the {side} {zone} zone.", "There is a {side} {zone} lung nodule."),
    "endotracheal tube": ("An endotracheal tube ends above the carina.", "Endotracheal tube in place."),
    "central line": ("A right central venous line ends in the superior vena cava.", "Right central line in place."),
    "pacemaker": ("A left chest wall pacemaker with two leads.", "Left-sided pacemaker in place."),
}
_NEGATIVE: dict[str, tuple[str, ...]] = {
    "pleural effusion": ("No pleural effusion.", "The costophrenic angles are sharp."),
    "lung opacity": ("The lungs are clear.", "No focal lung opacity."),
    "cardiomegaly": ("The heart size is normal.", "No cardiomegaly."),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
}


@dataclass(frozen=True)
class Finding:
    """One finding or device.

    Attributes:
        name: one of `NAMES`.
        side: the patient's side; empty for findings without one.
        zone: third of the lung, for pneumonia, consolidation and nodule; empty otherwise.
        severity: 0 (barely there) … 1 (extreme).

    Raises:
        ConfigError: an unknown name, a side or zone missing or out of place, or severity outside 0…1.
    """

    name: FindingName
    side: Side = ""
    zone: Zone = ""
    severity: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"unknown finding {self.name!r}; known are: {', '.join(NAMES)}")
        if (self.side in ("left", "right")) != (self.name in SIDED) or self.side not in get_args(Side):
            raise ConfigError(f"{self.name}: side must be {'left or right' if self.name in SIDED else 'empty'}")
        if (self.zone in ("upper", "mid", "lower")) != (self.name in ZONED) or self.zone not in get_args(Zone):
            raise ConfigError(f"{self.name}: zone must be {'upper, mid or lower' if self.name in ZONED else 'empty'}")
        if not 0 <= self.severity <= 1:
            raise ConfigError(f"{self.name}: severity must lie between 0 and 1, not {self.severity}")

    @property
    def sign(self) -> int:
        """−1 for the patient's right (the viewer's left), 1 for the left, 0 without side."""
        return {"right": -1, "left": 1, "": 0}[self.side]

    def sentence(self, variant: int = 0) -> str:
        """The finding in words; `variant` picks one of the equivalent wordings."""
        third = min(2, int(self.severity * 3))
        wordings = _POSITIVE[self.name]
        text = wordings[variant % len(wordings)].format(
            size=_SIZE[third], grade=_GRADE[third], side=self.side, zone=self.zone
        )
        return text[0].upper() + text[1:]


def labels_of(findings: Sequence[Finding]) -> dict[str, bool]:
    """Every label of `LABELS`, true where a finding states or implies it."""
    present = {f.name for f in findings} | {label for f in findings for label in IMPLIED.get(f.name, ())}
    return {label: label in present for label in LABELS}


def report_of(findings: Sequence[Finding], rng: np.random.Generator) -> tuple[str, ...]:
    """Sentences that are true of a phantom: what is there, then what is not."""
    positive = [f.sentence(int(rng.integers(2))) for f in findings]
    labels = labels_of(findings)
    negative = [wording[int(rng.integers(2))] for label, wording in _NEGATIVE.items() if not labels[label]]
    return (*positive, *negative)


def sample_findings(rng: np.random.Generator, devices: bool = True) -> tuple[Finding, ...]:
    """Draw findings as a training set wants them: a quarter normal, otherwise one to three of distinct kinds."""
    kinds = [name for name in NAMES if name not in DEVICES]
    chosen = [] if rng.uniform() < 0.25 else list(rng.choice(len(kinds), int(rng.integers(1, 4)), replace=False))
    found = [random_finding(kinds[i], rng) for i in chosen]
    if devices:
        found += [Finding(name) for name in NAMES if name in DEVICES and rng.uniform() < 0.1]
    return tuple(found)


def random_finding(name: FindingName, rng: np.random.Generator) -> Finding:
    """A finding of the given kind with side, zone and severity drawn."""
    sides: tuple[Side, Side] = ("left", "right")
    zones: tuple[Zone, Zone, Zone] = ("upper", "mid", "lower")
    side, zone = sides[int(rng.integers(2))], zones[int(rng.integers(3))]
    return Finding(name, side if name in SIDED else "", zone if name in ZONED else "", float(rng.uniform(0.1, 1.0)))
