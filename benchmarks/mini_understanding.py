"""What cxrzero-mini understands, and what it may be looking at instead.

    python benchmarks/mini_understanding.py --data ../shared/data [--model cxrzero-mini] [--part held] [--out FILE.json]

- Words: three everyday paraphrases for each of five findings (recipes/mini_paraphrases.json, chosen before training, in
  no caption) beside the finding's own name: difference of AUROC, paired bootstrap over patients.
- Sides: "left X" against "right X" on phantoms with a detector unlike any that was trained on (darker, flatter,
  noisier); on real films with a radiologist's box on one side, of patients that no training has seen, also "X in the
  left lower zone" against the right one; and ROCO's chest figures whose caption names one side: is the caption nearer
  than the same with the other side? ROCO's pictures were not trained on.
- Shortcuts: AUROC after the outer eighth of every film (borders, letters, tubes' ends) is blackened; and how well the
  finding scores of normal films tell which archive a film is from (logistic regression, five folds).
- Calibration: the mean probability of each finding beside how common it is, and the expected calibration error.

Part "val" (the default) asks the validation splits, and is written down in benchmarks/results/mini_looks.jsonl; part
"held" asks train patients that were kept out of training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mini import looks, tables
from benchmarks.mini.intervals import ENOUGH, interval, resample_weights
from benchmarks.mini.odds import scores
from benchmarks.mini.shortcuts import masked, sources
from benchmarks.mini.sides import box_sides, caption_sides, phantom_sides
from benchmarks.mini.subsets import PARTS, Subset, subsets
from cxrzero import Screener
from cxrzero.stats.metrics import aurocs, expected_calibration_error
from recipes.mini_words import PARAPHRASES


def words(screener: Screener, subset: Subset, data: Path) -> list[dict[str, Any]]:
    weights = resample_weights(subset.clusters)
    found = []
    for finding, phrases in PARAPHRASES.items():
        values = scores(screener, subset.paths(data), [finding, *phrases])
        own = aurocs(values[finding], subset.truth[finding], weights)
        for phrase in phrases:
            other = aurocs(values[phrase], subset.truth[finding], weights)
            found.append(
                {"finding": finding, "asked as": phrase, "auroc": interval(other), "difference": interval(other - own)}
            )
    return found


def calibration(screener: Screener, subset: Subset, data: Path) -> list[dict[str, Any]]:
    """Findings with enough positives, as `predict` gives them."""
    rows = screener.predict(subset.paths(data), labels=list(subset.truth))
    found = []
    for label, truth in subset.truth.items():
        if truth.sum() >= ENOUGH:
            p = np.array([row.scores[label] for row in rows])
            error = expected_calibration_error(p, truth)
            numbers = {"common": truth.mean(), "mean p": p.mean(), "ece": error}
            found.append({"finding": label} | {name: round(float(value), 3) for name, value in numbers.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="cxrzero-mini", help="name or folder of a bundle")
    parser.add_argument("--part", choices=PARTS, default=PARTS[0])
    parser.add_argument("--out", type=Path, help="JSON of everything")
    args = parser.parse_args()
    screener = Screener(args.model, device="cpu")
    subset = next(subsets(args.data, args.part))
    with tempfile.TemporaryDirectory() as folder:
        report: dict[str, Any] = {
            "words": words(screener, subset, args.data),
            "sides of phantoms": phantom_sides(screener, Path(folder)),
            "sides of boxes": box_sides(screener, args.data),
            "sides of captions": caption_sides(screener, args.data),
            "masked": masked(screener, subset, args.data, Path(folder)),
            "sources": sources(screener, args.data, args.part),
            "calibration": calibration(screener, subset, args.data),
        }
    print(tables.understanding(report))
    if args.part == "val":
        count = looks.write_down("mini_understanding", screener.member.fingerprint, report["masked"]["whole"][0])
        print("", looks.told(count), "", looks.table(), sep="\n")
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
