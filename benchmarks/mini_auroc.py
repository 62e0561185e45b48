"""AUROC of a model on the validation films of the open subsets, with trivial baselines beside it.

    python benchmarks/mini_auroc.py --data ../shared/data [--model cxrzero-mini] [--record models/cxrzero-mini]

Every film goes through `Screener`, so decoding, preprocessing, prompts ("{}" against "no {}") and both encoders are
those of `cxrzero predict`. Intervals: 95%, percentile bootstrap over patients (nih128) or films (where patients are
unknown), 1,000 resamples; a resample without both classes is left out. The baselines are the mean brightness and the
sharpness (variance of the Laplacian) of the film squashed to 128 × 128, each taken in the direction that suits it best.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero import Screener
from cxrzero.images import decode

NIH = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Effusion": "pleural effusion",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Hernia": "hernia",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pleural_Thickening": "pleural thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
ENOUGH = 20  # positives below which a finding says little and stays out of the main macro average
RESAMPLES = 1000
SIDE = 128

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Films:
    """Validation films of one subset.

    Attributes:
        truth: label as it is asked → (N,) bool.
        clusters: (N,) what is drawn together in the bootstrap: the patient, or the film where patients are unknown.
    """

    name: str
    paths: list[str]
    truth: dict[str, Bools]
    clusters: list[str]


@dataclass(frozen=True)
class Result:
    """One line of the table, and one entry of "results" in model.json."""

    dataset: str
    label: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    positives: int
    baselines: dict[str, float]
    command: str


def subsets(data: Path) -> Iterator[Films]:
    """The validation splits: nih128, kermany (children), shenzhen."""
    rows = _rows(data / "nih128" / "nih128.csv")
    truth = {asked: np.array([row[label] == "1" for row in rows]) for label, asked in NIH.items()}
    yield Films("nih128 val", _paths(data / "nih128", rows), truth, [row["patient_id"] for row in rows])
    for name, asked in (("kermany", "pneumonia"), ("shenzhen", "tuberculosis")):
        rows = _rows(data / name / f"{name}.csv")
        paths = _paths(data / name, rows)
        yield Films(f"{name} val", paths, {asked: np.array([row["finding"] != "normal" for row in rows])}, paths)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "val"]


def _paths(folder: Path, rows: list[dict[str, str]]) -> list[str]:
    return [os.fspath(folder / row["image"]) for row in rows]


def brightness_and_sharpness(paths: list[str]) -> tuple[Floats, Floats]:
    """Two numbers that anything can see in a film, (N,) each."""
    values = []
    for path in paths:
        small = Image.fromarray(next(decode(path)).pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        grey = np.asarray(small, np.float64) / 255
        laplacian = grey[2:, 1:-1] + grey[:-2, 1:-1] + grey[1:-1, 2:] + grey[1:-1, :-2] - 4 * grey[1:-1, 1:-1]
        values.append((grey.mean(), laplacian.var()))
    brightness, sharpness = np.array(values).T
    return brightness, sharpness


def resample_weights(clusters: list[str]) -> Floats:
    """(RESAMPLES + 1, N): how often each film is drawn; the first row is the sample itself."""
    _, index = np.unique(clusters, return_inverse=True)
    count = index.max() + 1
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, len(index))), draws[:, index]])


def aurocs(truth: Bools, score: Floats, weights: Floats) -> Floats:
    """Weighted AUROC (ties half) for every row of `weights`; nan where a class is missing."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positive = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * ~truth)[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = (positive * below).sum(axis=1) / pairs
    return np.where(pairs > 0, result, np.nan)


def evaluate(screener: Screener, films: Films, command: str) -> list[Result]:
    """One result per label, and macro averages where there are several."""
    labels = list(films.truth)
    rows = screener.predict(films.paths, labels=labels)
    unread = [row.path for row in rows if row.status != "ok"]
    if unread or len(rows) != len(films.paths):
        raise SystemExit(f"{films.name}: {len(unread)} films could not be scored, e.g. {unread[:3]}")
    weights = resample_weights(films.clusters)
    brightness, sharpness = brightness_and_sharpness(films.paths)
    results, samples = [], {}
    for label in labels:
        truth = films.truth[label]
        samples[label] = aurocs(truth, np.array([row.scores[label] for row in rows], np.float64), weights)
        baselines = {}
        for name, value in (("mean_brightness", brightness), ("sharpness", sharpness)):
            auroc = aurocs(truth, value, weights[:1])[0]
            baselines[name] = round(float(max(auroc, 1 - auroc)), 4)
        results.append(_result(films, label, samples[label], int(truth.sum()), baselines, command))
    if len(labels) > 1:
        common = [r for r in results if r.positives >= ENOUGH]
        for name, chosen in ((f"macro, {ENOUGH} positives or more", common), ("macro, all", list(results))):
            mean = np.mean([samples[r.label] for r in chosen], axis=0)
            baselines = {
                key: round(float(np.mean([r.baselines[key] for r in chosen])), 4)
                for key in ("mean_brightness", "sharpness")
            }
            results.append(_result(films, name, mean, sum(r.positives for r in chosen), baselines, command))
    return results


def _result(
    films: Films, label: str, sample: Floats, positives: int, baselines: dict[str, float], command: str
) -> Result:
    low, high = np.nanpercentile(sample[1:], [2.5, 97.5])
    value, low, high = (round(float(x), 4) for x in (sample[0], low, high))
    return Result(films.name, label, "auroc", value, low, high, len(films.paths), positives, baselines, command)


def show(results: list[Result]) -> None:
    print(f"{'dataset':13} {'label':31} {'n':>5} {'pos.':>5}  {'AUROC':5} {'95% interval':13}  brightness  sharpness")
    for r in results:
        line = f"{r.dataset:13} {r.label:31} {r.n:5} {r.positives:5}  {r.value:.3f} {r.low:.3f}–{r.high:.3f} "
        print(f"{line}  {r.baselines['mean_brightness']:10.3f} {r.baselines['sharpness']:10.3f}")


def record(results: list[Result], bundle: Path) -> None:
    """Put the results into the bundle's model.json."""
    path = bundle / "model.json"
    card = json.loads(path.read_text("utf-8"))
    card["results"] = [asdict(r) for r in results]
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kermany/, nih128/ and shenzhen/")
    parser.add_argument("--model", default="cxrzero-mini", help="name or folder of a bundle")
    parser.add_argument("--record", type=Path, metavar="BUNDLE", help="write the results into this bundle's model.json")
    args = parser.parse_args()
    command = f"python benchmarks/mini_auroc.py --data {args.data.as_posix()}"
    screener = Screener(args.model, device="cpu")
    results = [result for films in subsets(args.data) for result in evaluate(screener, films, command)]
    show(results)
    if args.record is not None:
        record(results, args.record)


if __name__ == "__main__":
    main()
