"""AUROC of a model on the validation films of the open subsets, with trivial baselines beside it.

    python benchmarks/mini_auroc.py --data ../shared/data [--model cxrzero-mini] [--record models/cxrzero-mini]
        [--beside supervised_control=runs/control] [--beside hand_made=runs/handmade]

Every film goes through `Screener`: decoding, preprocessing, prompts and both encoders are those of `cxrzero predict`,
"{}" against "no {}", and once more the built-in bank's sentences. Intervals: 95%, percentile bootstrap over patients
(nih128) or films (where patients are unknown), 1,000 resamples; a resample without both classes is left out. The
baselines are the mean brightness and the sharpness (variance of the Laplacian) of the film squashed to 128 × 128, each
taken in the direction that suits it best, and what `--beside` names: scores.npz of recipes/mini_teacher.py and
benchmarks/mini_handmade.py.
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
from PIL import Image

from cxrzero import Screener
from cxrzero.images import decode
from cxrzero.maths import Bools, Floats
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.measured import findings_at_chance
from cxrzero.stats.metrics import aurocs

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


@dataclass(frozen=True)
class Films:
    """Validation films of one subset.

    Attributes:
        truth: label as it is asked → (N,) bool.
        columns: label as it is asked → label of the scores that `--beside` names.
        clusters: (N,) what is drawn together in the bootstrap: the patient, or the film where patients are unknown.
    """

    name: str
    paths: list[str]
    truth: dict[str, Bools]
    clusters: list[str]
    columns: dict[str, str]


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
    columns = {asked: label for label, asked in NIH.items()}
    yield Films("nih128 val", _paths(data / "nih128", rows), truth, [row["patient_id"] for row in rows], columns)
    children = _rows(data / "kermany" / "kermany.csv")
    yield _by_finding(data / "kermany", "kermany val", children, "pneumonia", "child pneumonia", "pneumonia")
    sick = [row for row in children if row["finding"] != "normal"]
    yield _by_finding(
        data / "kermany", "kermany val, sick", sick, "bacterial pneumonia", "child bacterial", "bacterial"
    )
    chests = _rows(data / "shenzhen" / "shenzhen.csv")
    yield _by_finding(data / "shenzhen", "shenzhen val", chests, "tuberculosis", "tuberculosis", "tuberculosis")


def _by_finding(folder: Path, name: str, rows: list[dict[str, str]], asked: str, column: str, named: str) -> Films:
    paths = _paths(folder, rows)
    return Films(name, paths, {asked: np.array([named in row["finding"] for row in rows])}, paths, {asked: column})


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


class Beside:
    """Scores of another model of the same films."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "scores.npz") as file:
            self._rows = {str(name): row for row, name in enumerate(file["names"])}
            self._columns = {str(label): column for column, label in enumerate(file["labels"])}
            self._scores = file["scores"]

    def __call__(self, films: Films, data: Path, label: str) -> Floats:
        """(N,) scores of films below the data folder."""
        rows = [self._rows[self._name(Path(path).relative_to(data))] for path in films.paths]
        scores: Floats = self._scores[rows, self._columns[films.columns[label]]]
        return scores

    @staticmethod
    def _name(path: Path) -> str:
        """As recipes/mini_films.py has it."""
        return path.stem if path.parts[0].startswith("nih") else path.as_posix()


def evaluate(screener: Screener, films: Films, data: Path, beside: dict[str, Beside], command: str) -> list[Result]:
    """One result per label, and macro averages where there are several."""
    labels = list(films.truth)
    scores = ask(screener, films, bank=False)
    banked = ask(screener, films, bank=True)
    weights = resample_weights(films.clusters)
    brightness, sharpness = brightness_and_sharpness(films.paths)
    results, samples = [], {}
    for label in labels:
        truth = films.truth[label]
        samples[label] = aurocs(scores[label], truth, weights)
        baselines = {}
        for name, value in (("mean_brightness", brightness), ("sharpness", sharpness)):
            auroc = aurocs(value, truth)[0]
            baselines[name] = round(float(max(auroc, 1 - auroc)), 4)
        baselines["built_in_bank"] = round(float(aurocs(banked[label], truth)[0]), 4)
        for name, other in beside.items():
            baselines[name] = round(float(aurocs(other(films, data, label), truth)[0]), 4)
        results.append(_result(films, label, samples[label], int(truth.sum()), baselines, command))
    if len(labels) > 1:
        common = [r for r in results if r.positives >= ENOUGH]
        for name, chosen in ((f"macro, {ENOUGH} positives or more", common), ("macro, all", list(results))):
            mean = np.mean([samples[r.label] for r in chosen], axis=0)
            baselines = {
                key: round(float(np.mean([r.baselines[key] for r in chosen])), 4) for key in chosen[0].baselines
            }
            results.append(_result(films, name, mean, sum(r.positives for r in chosen), baselines, command))
    return results


def ask(screener: Screener, films: Films, bank: bool) -> dict[str, Floats]:
    """Label → (N,) probability; with the built-in bank's sentences, or the model's own templates."""
    labels = list(films.truth)
    rows = screener.predict(films.paths, labels=labels, prompts=BUILT_IN if bank else None)
    unread = [row.path for row in rows if row.status != "ok"]
    if unread or len(rows) != len(films.paths):
        raise SystemExit(f"{films.name}: {len(unread)} films could not be scored, e.g. {unread[:3]}")
    return {label: np.array([row.scores[label] for row in rows], np.float64) for label in labels}


def _result(
    films: Films, label: str, sample: Floats, positives: int, baselines: dict[str, float], command: str
) -> Result:
    low, high = np.nanpercentile(sample[1:], [2.5, 97.5])
    value, low, high = (round(float(x), 4) for x in (sample[0], low, high))
    return Result(films.name, label, "auroc", value, low, high, len(films.paths), positives, baselines, command)


def show(results: list[Result]) -> None:
    names = list(results[0].baselines)
    print(f"| films | finding | n | positives | AUROC (95%) | {' | '.join(name.replace('_', ' ') for name in names)} |")
    print("|---" * (5 + len(names)) + "|")
    for r in results:
        beside = " | ".join(f"{r.baselines[name]:.3f}" for name in names)
        value = f"**{r.value:.3f}** ({r.low:.3f}–{r.high:.3f})"
        print(f"| {r.dataset} | {r.label} | {r.n} | {r.positives} | {value} | {beside} |")


def record(results: list[Result], bundle: Path) -> None:
    """Put the results into the bundle's model.json, and which findings are at chance by them."""
    path = bundle / "model.json"
    card = json.loads(path.read_text("utf-8"))
    card["results"] = [asdict(r) for r in results]
    card["at_chance"] = findings_at_chance(card["results"])
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kermany/, nih128/ and shenzhen/")
    parser.add_argument("--model", default="cxrzero-mini", help="name or folder of a bundle")
    parser.add_argument("--record", type=Path, metavar="BUNDLE", help="write the results into this bundle's model.json")
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=FOLDER", help="other scores to show")
    args = parser.parse_args()
    beside = {name: Beside(Path(folder)) for name, _, folder in (each.partition("=") for each in args.beside)}
    command = f"python benchmarks/mini_auroc.py --data {args.data.as_posix()}"
    screener = Screener(args.model, device="cpu")
    results = [
        result for films in subsets(args.data) for result in evaluate(screener, films, args.data, beside, command)
    ]
    show(results)
    if args.record is not None:
        record(results, args.record)


if __name__ == "__main__":
    main()
