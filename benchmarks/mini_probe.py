"""The frozen trunk beside the bundled model: a linear probe of its features, fitted on the model's training films.

    python benchmarks/mini_probe.py --data ../shared/data --work runs/starts --wheels wheels --out runs/probe

Features are those of benchmarks/mini_starts.py, in the same folder; the probe is its ridge regression, for each label
over the films of part "train" whose source states it. Writes `scores.npz` for `benchmarks/mini_auroc.py --beside`: a
score of every film for every label.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.mini.features import Source, load, make
from benchmarks.mini.intervals import ENOUGH
from benchmarks.mini.ridge import Array, Rows, chosen_by_folds
from benchmarks.mini.subsets import to_score
from benchmarks.mini_starts import fold_of, in_order
from cxrzero.maths import Bools
from cxrzero.stats.metrics import auroc
from recipes.mini_films import LABELS, Film
from recipes.mini_words import FINDINGS

# Labels that are stated of the same films are fitted at once.
TOGETHER = (tuple(FINDINGS), *((label,) for label in LABELS if label not in FINDINGS))


def scores_of(listed: Sequence[Film], features: Array) -> Array:
    """(N, L): each label's probe on every film; the strength is the one that serves the folds of train best."""
    found = []
    for labels in TOGETHER:
        rows = [row for row, film in enumerate(listed) if film.part == "train" and labels[0] in film.labels]
        truth = np.array([[listed[row].labels[label] for label in labels] for row in rows])
        fold = np.array([fold_of(listed[row].patient) for row in rows])

        def quality(scores: Array, among: Rows, truth: Bools = truth) -> float:
            asked = truth[among]
            columns = [n for n in range(asked.shape[1]) if ENOUGH <= asked[:, n].sum() < len(asked)]
            return float(np.mean([auroc(scores[:, n], asked[:, n]) for n in columns]))

        found.append(chosen_by_folds(features[rows], truth.astype(np.float64), fold, quality)(features))
    return np.concatenate(found, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the features")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the wheels")
    parser.add_argument("--features", default="lite0-224", help="trunk-side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    listed, source = in_order(to_score(args.data)), Source.named(args.features)
    make({source: len(listed)}, listed, args.data, args.work, args.wheels, args.threads)
    scores = scores_of(listed, load(source, listed, args.work).values.astype(np.float64))
    names = np.array([film.name for film in listed])
    np.savez(args.out / "scores.npz", names=names, scores=scores.astype(np.float32), labels=np.array(LABELS))


if __name__ == "__main__":
    main()
