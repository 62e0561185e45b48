"""The pictures that the image detectors are trained on, and which of them are held out."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.captions import kind_of
from recipes.detector_pictures import STORED_SIDE, Grey

SUBSETS = ("kermany", "nih", "nih64", "nih128", "shenzhen", "hannover", "roco")
HELD_OUT_IN = 8  # one patient in so many
# Lateral chest films among the frontal ones, found by looking at the films that an early model found strangest.
LATERAL = frozenset(
    [
        "00000517_001",
        "00000591_003",
        "00000732_007",
        "00000966_000",
        "00001085_000",
        "00001104_011",
        "00001136_001",
        "00001153_005",
        "00001223_001",
        "00001602_000",
        "00001803_003",
        "00002097_000",
        "00002117_003",
        "00002705_000",
        "00003023_000",
        "00003122_001",
        "PMC2848035_1749-8090-5-12-3",
        "PMC3000416_1752-1947-4-380-6",
    ]
)


@dataclass(frozen=True)
class Picture:
    """One training picture.

    Attributes:
        group: what must not be split: a patient, an article.
        kind: of roco's figures that are no chest films, what their captions say (recipes/captions.py).
    """

    name: str
    source: str
    group: str
    pixels: Grey
    kind: str = ""

    @property
    def held_out(self) -> bool:
        return held_out(self.group)


def held_out(group: str) -> bool:
    """Whether no training reads this patient or article."""
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % HELD_OUT_IN == 0


def load(data: Path, subsets: Sequence[str] = SUBSETS) -> Iterator[Picture]:
    """Every picture of the train splits, small."""
    for subset in subsets:
        with open(data / subset / f"{subset}.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("split", "train") != "train":
                    continue
                source, kind = subset, ""
                if subset == "roco" and row["is_chest_xray"] == "1":
                    source = "roco chest"
                elif subset == "roco":
                    kind = kind_of(row["text"])
                if Path(row["image"]).stem in LATERAL:
                    source = "lateral"
                yield Picture(row["image"], source, group_of(subset, row), small(data / subset / row["image"]), kind)


def group_of(subset: str, row: dict[str, str]) -> str:
    """The patient, or the nearest thing that the file name tells."""
    if subset == "kermany":
        return "kermany " + re.split(r"[_.]", Path(row["image"]).name)[0]
    if subset == "roco":
        return row["image"].split("_")[0]
    family = "nih" if subset.startswith("nih") else subset
    return f"{family} {row.get('patient_id') or row['image']}"


def small(path: Path) -> Grey:
    with Image.open(path) as image:
        image = image.convert("L")
        image.thumbnail((STORED_SIDE, STORED_SIDE), Image.Resampling.BOX)
        return np.asarray(image).copy()
