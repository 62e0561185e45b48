"""What needs no network: a linear model on 32 × 32 pixels and gradients of the films that cxrzero-mini learned from.

    python benchmarks/mini_handmade.py --data ../shared/data --out runs/handmade

Logistic regression for each label (scikit-learn, C = 0.01 on standardised features), trained on the same films as the
model. Writes `scores.npz` for `benchmarks/mini_auroc.py --beside`. HOG: Dalal and Triggs, CVPR 2005: 16 × 16 cells of 8
pixels, 9 unsigned orientations, normalised over blocks of 2 × 2 cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.mini.subsets import to_score
from recipes.mini_films import LABELS, Film, pixels

STORED = 128  # pixels of a side that gradients are taken of
SMALL = 32
CELL, BINS = 8, 9


def features(pixels: np.ndarray) -> np.ndarray:
    """(128, 128) uint8 → (1024 + 2304,) float32."""
    small = np.asarray(Image.fromarray(pixels).resize((SMALL, SMALL), Image.Resampling.BOX), np.float32).ravel() / 255
    return np.concatenate([small, hog(pixels.astype(np.float32) / 255)])


def hog(grey: np.ndarray) -> np.ndarray:
    """(H, W) → (H/8 · W/8 · 9,) float32."""
    dy, dx = np.gradient(grey)
    strength = np.hypot(dx, dy)
    turn = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * BINS
    lower = np.floor(turn).astype(int) % BINS
    share = turn - np.floor(turn)
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    cells = np.zeros((rows, columns, BINS), np.float32)
    y, x = np.indices(grey.shape) // CELL
    np.add.at(cells, (y, x, lower), strength * (1 - share))
    np.add.at(cells, (y, x, (lower + 1) % BINS), strength * share)
    padded = np.pad(cells, ((0, 1), (0, 1), (0, 0)), mode="edge")
    energy = (padded**2).sum(axis=-1)
    block = energy[:-1, :-1] + energy[1:, :-1] + energy[:-1, 1:] + energy[1:, 1:]
    return (cells / np.sqrt(block + 1e-4)[..., None]).astype(np.float32).ravel()


def fit_and_score(listed: Sequence[Film], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N, L) log odds of every film; fitted on those of part "train"."""
    train = np.array([film.part == "train" for film in listed])
    values = StandardScaler().fit(values[train]).transform(values)
    scores = np.zeros((len(values), len(LABELS)))
    for column, label in enumerate(LABELS):
        known = train & np.array([label in film.labels for film in listed])
        model = LogisticRegression(C=0.01, max_iter=60, tol=1e-2)
        model.fit(values[known], [listed[row].labels[label] for row in np.flatnonzero(known)])
        scores[:, column] = model.decision_function(values)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    listed = to_score(args.data)
    scores = fit_and_score(listed, np.stack([features(film) for film in pixels(listed, args.data, STORED)]))
    names = np.array([film.name for film in listed])
    np.savez(args.out / "scores.npz", names=names, scores=scores, labels=np.array(LABELS))


if __name__ == "__main__":
    main()
