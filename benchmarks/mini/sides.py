"""Does a model tell left from right: on phantoms, on figures whose captions name a side, on real films with boxes."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.mini.intervals import interval, resample_weights
from benchmarks.mini.odds import scores
from cxrzero import Screener
from cxrzero.phantom import Finding, Look, draw
from cxrzero.stats.metrics import aurocs
from recipes.mini_boxes import LABEL, LABELS, ORIGINAL, OTHER, Place, place_of
from recipes.mini_films import films, rows_of
from recipes.mini_words import FINDINGS

# Outside the ranges of cxrzero.phantom.sample_look, from which the training phantoms are drawn.
UNSEEN = Look(photons=2.0e4, scatter=0.6, contrast=1.3, gamma=1.4, equalise=0.5, sharpen=0.0)
PER_SIDE = 60
SIDED = ("pleural effusion", "pneumothorax", "consolidation")
FIRST_SEED = 5_000_000
FEWEST = 5  # boxes of a side from which a finding has a line of its own


def phantom_sides(screener: Screener, folder: Path) -> list[dict[str, Any]]:
    found = []
    for number, name in enumerate(SIDED):
        paths, left = [], []
        for n in range(2 * PER_SIDE):
            side = ("left", "right")[n % 2]
            severity = 0.3 + 0.6 * (n // 2) / PER_SIDE
            finding = Finding(name, side, "mid" if name == "consolidation" else "", severity)
            path = folder / f"{name} {n}.png"
            Image.fromarray(draw(FIRST_SEED + 1000 * number + n, 256, (finding,), look=UNSEEN).to_uint8()).save(path)
            paths.append(path)
            left.append(side == "left")
        values = scores(screener, paths, [f"left {name}", f"right {name}"])
        d = values[f"left {name}"] - values[f"right {name}"]
        weights = resample_weights([str(n) for n in range(len(paths))])
        found.append({"finding": name, "phantoms": len(paths), "auroc": interval(aurocs(d, np.array(left), weights))})
    return found


def caption_sides(screener: Screener, data: Path) -> dict[str, Any]:
    """ROCO: cosine of a figure with its caption's sentence about one side, and with the sides exchanged."""
    with (data / "roco" / "roco.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["is_chest_xray"] == "1"]
    asked = []
    for row in rows:
        sentence = next(
            (s for s in re.split(r"(?<=[.;])\s", row["text"]) if re.search(r"\b(left|right)\b", s, re.I)), ""
        )
        sides = {side.lower() for side in re.findall(r"\b(left|right)\b", sentence, re.I)}
        if len(sides) == 1:
            asked.append((data / "roco" / row["image"], _around_side(sentence.lower())))
    paths = [path for path, _ in asked]
    images = embeddings(screener, paths)
    other = {"left": "right", "right": "left"}
    swapped = [re.sub(r"\b(left|right)\b", lambda match: other[match[0]], text) for _, text in asked]
    texts = text_embeddings(screener, [text for _, text in asked] + swapped)
    d = (images * texts[: len(asked)]).sum(axis=1) - (images * texts[len(asked) :]).sum(axis=1)
    right, n = int((d > 0).sum()), len(d)
    return {"captions": n, "own side nearer": right, "share": round(right / n, 3), "interval": wilson(right, n)}


def _around_side(sentence: str) -> str:
    """The words beside "left" or "right": whole captions are longer than a model's context."""
    words = sentence.split()
    at = next(n for n, word in enumerate(words) if re.search(r"\b(left|right)\b", word))
    return " ".join(words[max(0, at - 4) : at + 6])


def embeddings(screener: Screener, paths: Sequence[Path]) -> np.ndarray:
    from cxrzero.images import decode

    member = screener.member
    pixels = np.stack([member.preprocess(next(decode(path)).pixels) for path in paths])
    return np.concatenate(
        [member.encoder.encode_images(part) for part in np.array_split(pixels, max(1, len(pixels) // 16))]
    )


def text_embeddings(screener: Screener, texts: Sequence[str]) -> np.ndarray:
    member = screener.member
    return np.concatenate([member.encoder.encode_texts(member.tokenizer([text])) for text in texts])


def wilson(successes: int, n: int, z: float = 1.96) -> list[float]:
    p = successes / n
    middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [round((middle - spread) / (1 + z * z / n), 3), round((middle + spread) / (1 + z * z / n), 3)]


def kept_places(data: Path) -> list[tuple[Path, str, str, Place]]:
    """(film, patient, label, place) of the boxed findings that no training has seen, and that are on one side."""
    kept = {film.name: film for film in films(data) if film.part == "boxed"}
    boxes: dict[tuple[str, str], list[Place | None]] = {}
    for row in rows_of(data / "nih_boxes.csv"):
        name, label = Path(row["image_index"]).stem, LABEL.get(row["finding"], row["finding"])
        if name in kept and label in LABELS:
            place = place_of(*(float(row[key]) / ORIGINAL for key in ("x", "y", "width", "height")))
            boxes.setdefault((name, label), []).append(place)
    found = []
    for (name, label), places in boxes.items():
        sides = {place.side if place else "" for place in places}
        if len(sides) == 1 and places[0] is not None:
            zones = {place.zone for place in places if place}
            place = Place(places[0].side, zones.pop() if len(zones) == 1 else "")
            found.append((data / kept[name].path, kept[name].patient, label, place))
    return found


def box_sides(screener: Screener, data: Path) -> list[dict[str, Any]]:
    """The left X against the right X, and, of boxes in the lower zone, "X in the left lower zone" against the right."""
    found = kept_places(data)
    asked = {"side": found, "lower zone": [each for each in found if each[3].zone == "lower"]}
    lines = []
    for question, some in asked.items():
        texts = {label: _asked_of(FINDINGS[label][0], question) for label in LABELS}
        values = scores(screener, [path for path, *_ in some], [text for pair in texts.values() for text in pair])
        d = np.array([
            values[texts[label][0]][row] - values[texts[label][1]][row] for row, (_, _, label, _) in enumerate(some)
        ])  # fmt: skip
        lines += by_finding(question, d, some)
    return lines


def _asked_of(name: str, question: str) -> tuple[str, str]:
    left, right = (f"{side} {name}" if question == "side" else f"{name} in the {side} lower zone" for side in OTHER)
    return left, right


def by_finding(question: str, d: np.ndarray, boxed: Sequence[tuple[Path, str, str, Place]]) -> list[dict[str, Any]]:
    """AUROC of d (left minus right) of all boxes, then of each finding with enough of both sides."""
    left = np.array([place.side == "left" for *_, place in boxed])
    labels = np.array([label for _, _, label, _ in boxed])
    lines = []
    for label in ("all", *LABELS):
        rows = np.flatnonzero((labels == label) | (label == "all"))
        if min(left[rows].sum(), (~left[rows]).sum()) < FEWEST:
            continue
        clusters = [boxed[row][1] for row in rows]
        line = {"question": question, "finding": "all" if label == "all" else FINDINGS[label][0], "boxes": len(rows)}
        line |= {"patients": len(set(clusters)), "left": int(left[rows].sum())}
        lines.append(line | {"auroc": interval(aurocs(d[rows], left[rows], resample_weights(clusters)))})
    return lines
