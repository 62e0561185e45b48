"""A data folder as the recipe of the model in the box reads it, with a few small pictures and made labels."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.mini_words import FINDINGS

Row = dict[str, str]


def nih(image: str, *found: str, split: str = "train") -> Row:
    """A row of one of ChestX-ray14's subsets; the patient is in the image's name."""
    name = Path(image).name
    labels = {label: "1" if label in found else "0" for label in FINDINGS}
    return {"image": image, "patient_id": name.partition("_")[0], "size": "128", "split": split, **labels}


def box(image: str, finding: str, x: float, y: float, width: float, height: float) -> Row:
    """A row of nih_boxes.csv, in pixels of the original of 1024."""
    place = {"x": str(x), "y": str(y), "width": str(width), "height": str(height)}
    return {"image": image, "image_index": f"{Path(image).stem}.png", "finding": finding, **place}


def write_data(folder: Path, subsets: Mapping[str, Sequence[Row]], boxes: Sequence[Row] = ()) -> Path:
    """Write each subset's CSV and pictures, and what belongs to all of ChestX-ray14. What is not named is empty."""
    names = []
    for subset in ("nih_more", "nih", "nih128", "nih64", "kermany", "shenzhen", "hannover"):
        rows = subsets.get(subset, ())
        for number, row in enumerate(rows):
            path = folder / subset / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = np.random.default_rng(number).integers(0, 256, (24, 32), np.uint8)
            Image.fromarray(grey).save(path)
            names += [f"{path.stem}.png"] if subset.startswith("nih") else []
        _write(folder / subset / f"{subset}.csv", rows)
    facts = [{"image_index": name, "age": "61", "sex": "F", "view": "AP"} for name in dict.fromkeys(names)]
    _write(folder / "nih_facts.csv", facts)
    _write(folder / "nih_boxes.csv", boxes)
    return folder


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["image", "image_index"])
        writer.writeheader()
        writer.writerows(rows)
