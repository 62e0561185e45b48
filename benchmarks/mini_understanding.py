"""What cxrzero-mini understands, and what it may be looking at instead.

    python benchmarks/mini_understanding.py --data ../shared/data [--model cxrzero-mini] [--out FILE.json]

- Words: three everyday paraphrases for each of five findings (recipes/mini_paraphrases.json, chosen before training, in
  no caption) beside the finding's own name on the nih128 validation films: difference of AUROC, paired bootstrap over
  patients.
- Sides: "left X" against "right X" on phantoms with a detector unlike any that was trained on (darker, flatter,
  noisier), and ROCO's chest figures whose caption names one side: is the caption nearer than the same with the other
  side? ROCO's pictures were not trained on.
- Shortcuts: AUROC after the outer eighth of every film (borders, letters, tubes' ends) is blackened; and how well the
  finding scores of normal films tell which archive a film is from (logistic regression, five folds).
- Calibration: the mean probability of each finding beside how common it is, and the expected calibration error.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from benchmarks.mini_auroc import ENOUGH, NIH, Films, resample_weights, subsets
from cxrzero import Screener
from cxrzero.phantom import Finding, Look, draw
from cxrzero.stats.metrics import aurocs, expected_calibration_error
from recipes.mini_words import PARAPHRASES

# Outside the ranges of cxrzero.phantom.sample_look, from which the training phantoms are drawn.
UNSEEN = Look(photons=2.0e4, scatter=0.6, contrast=1.3, gamma=1.4, equalise=0.5, sharpen=0.0)
PER_SIDE = 60
SIDED = ("pleural effusion", "pneumothorax", "consolidation")
FIRST_SEED = 5_000_000
MASKED = 8  # one part in so many of each side is blackened


def scores(screener: Screener, paths: Sequence[Any], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Label → (N,) log odds of p, which rank as cos⁺ − cos⁻ does."""
    rows = screener.predict(list(paths), labels=list(labels))
    bad = [row.path for row in rows if row.status != "ok"]
    if bad:
        raise SystemExit(f"{len(bad)} pictures could not be scored, e.g. {bad[:3]}")
    p = {label: np.clip([row.scores[label] for row in rows], 1e-7, 1 - 1e-7) for label in labels}
    return {label: np.log(values / (1 - values)) for label, values in p.items()}


def interval(samples: np.ndarray) -> list[float]:
    low, high = np.nanpercentile(samples[1:], [2.5, 97.5])
    return [round(float(value), 4) for value in (samples[0], low, high)]


def words(screener: Screener, films: Films) -> list[dict[str, Any]]:
    weights = resample_weights(films.clusters)
    found = []
    for finding, phrases in PARAPHRASES.items():
        values = scores(screener, films.paths, [finding, *phrases])
        own = aurocs(values[finding], films.truth[finding], weights)
        for phrase in phrases:
            other = aurocs(values[phrase], films.truth[finding], weights)
            found.append(
                {"finding": finding, "asked as": phrase, "auroc": interval(other), "difference": interval(other - own)}
            )
    return found


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


def masked(screener: Screener, films: Films, folder: Path) -> dict[str, Any]:
    common = [label for label in films.truth if films.truth[label].sum() >= ENOUGH]
    paths = []
    for n, path in enumerate(films.paths):
        grey = np.array(Image.open(path).convert("L"))
        y, x = grey.shape[0] // MASKED // 2, grey.shape[1] // MASKED // 2
        blackened = np.zeros_like(grey)
        blackened[y:-y, x:-x] = grey[y:-y, x:-x]
        paths.append(folder / f"{n}.png")
        Image.fromarray(blackened).save(paths[-1])
    weights = resample_weights(films.clusters)
    whole, less = scores(screener, films.paths, common), scores(screener, paths, common)
    both = [
        np.mean([aurocs(values[label], films.truth[label], weights) for label in common], axis=0)
        for values in (whole, less)
    ]
    return {"whole": interval(both[0]), "masked": interval(both[1]), "difference": interval(both[1] - both[0])}


def sources(screener: Screener, data: Path) -> dict[str, Any]:
    """Normal films of the validation splits, and hannover's (which are not normal: there are no others)."""
    paths: dict[str, list[Path]] = {}
    for name in ("kermany", "nih128", "shenzhen"):
        with (data / name / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
        normal = [row for row in rows if row.get("finding", "") == "normal" or row.get("No Finding") == "1"]
        paths[name] = [data / name / row["image"] for row in normal][:240]
    with (data / "hannover" / "hannover.csv").open(encoding="utf-8", newline="") as file:
        paths["hannover"] = [data / "hannover" / row["image"] for row in csv.DictReader(file)]
    truth = np.concatenate([[name] * len(some) for name, some in paths.items()])
    values = scores(screener, [path for some in paths.values() for path in some], list(NIH.values()))
    table = np.stack(list(values.values()), axis=1)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    model = LogisticRegression(max_iter=2000, class_weight="balanced")
    guess = cross_val_predict(model, table, truth, cv=5)
    recall = {name: round(float((guess[truth == name] == name).mean()), 3) for name in paths}
    return {"films": {name: len(some) for name, some in paths.items()}, "recall": recall, "chance": 1 / len(paths)}


def calibration(screener: Screener, films: Films) -> list[dict[str, Any]]:
    """Findings with enough positives, as `predict` gives them."""
    rows = screener.predict(films.paths, labels=list(films.truth))
    found = []
    for label, truth in films.truth.items():
        if truth.sum() >= ENOUGH:
            p = np.array([row.scores[label] for row in rows])
            error = expected_calibration_error(p, truth)
            numbers = {"common": truth.mean(), "mean p": p.mean(), "ece": error}
            found.append({"finding": label} | {name: round(float(value), 3) for name, value in numbers.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--out", type=Path, help="JSON of everything")
    args = parser.parse_args()
    screener = Screener(args.model, device="cpu")
    films = next(subsets(args.data))
    with tempfile.TemporaryDirectory() as folder:
        report = {
            "words": words(screener, films),
            "sides of phantoms": phantom_sides(screener, Path(folder)),
            "sides of captions": caption_sides(screener, args.data),
            "masked": masked(screener, films, Path(folder)),
            "sources": sources(screener, args.data),
            "calibration": calibration(screener, films),
        }
    print(json.dumps(report, indent=1, ensure_ascii=False))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
