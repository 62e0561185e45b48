"""What a model may be looking at instead of the finding: the borders of a film, the look of its source."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from benchmarks.mini.intervals import common, interval, macro, resample_weights
from benchmarks.mini.odds import scores
from benchmarks.mini.subsets import Subset, copies_of
from cxrzero import Screener
from recipes.mini_films import films
from recipes.mini_words import FINDINGS

MASKED = 8  # one part in so many of each side is blackened
OF_A_SOURCE = 240  # normal films, at most


def masked(screener: Screener, subset: Subset, data: Path, folder: Path) -> dict[str, Any]:
    labels = common(subset.truth)
    paths = []
    for n, path in enumerate(subset.paths(data)):
        grey = np.array(Image.open(path).convert("L"))
        y, x = grey.shape[0] // MASKED // 2, grey.shape[1] // MASKED // 2
        blackened = np.zeros_like(grey)
        blackened[y:-y, x:-x] = grey[y:-y, x:-x]
        paths.append(folder / f"{n}.png")
        Image.fromarray(blackened).save(paths[-1])
    weights = resample_weights(subset.clusters)
    whole, less = (
        macro(scores(screener, films, labels), subset.truth, labels, weights) for films in (subset.paths(data), paths)
    )
    return {"whole": interval(whole), "masked": interval(less), "difference": interval(less - whole)}


def normal_films(data: Path, part: str) -> dict[str, list[Path]]:
    """Source → the first normal films of a part; the adults of val as nih128 has them."""
    listed = [film for film in films(data) if film.part == part]
    adults = copies_of(listed, data, "nih128") if part == "val" else [film for film in listed if film.source == "nih"]
    found = {"nih128" if part == "val" else "nih": adults}
    found |= {name: [film for film in listed if film.source == name] for name in ("kermany", "shenzhen")}
    return {name: [data / film.path for film in found[name] if film.normal][:OF_A_SOURCE] for name in sorted(found)}


def sources(screener: Screener, data: Path, part: str) -> dict[str, Any]:
    """Normal films that were not trained on, and hannover's (which are not normal: there are no others)."""
    paths = normal_films(data, part)
    with (data / "hannover" / "hannover.csv").open(encoding="utf-8", newline="") as file:
        paths["hannover"] = [data / "hannover" / row["image"] for row in csv.DictReader(file)]
    truth = np.concatenate([[name] * len(some) for name, some in paths.items()])
    values = scores(
        screener, [path for some in paths.values() for path in some], [FINDINGS[label][0] for label in sorted(FINDINGS)]
    )
    table = np.stack(list(values.values()), axis=1)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    model = LogisticRegression(max_iter=2000, class_weight="balanced")
    guess = cross_val_predict(model, table, truth, cv=5)
    recall = {name: round(float((guess[truth == name] == name).mean()), 3) for name in paths}
    mean = round(float(np.mean(list(recall.values()))), 3)
    counts = {name: len(some) for name, some in paths.items()}
    return {"films": counts, "recall": recall, "mean": mean, "chance": 1 / len(paths)}
