"""What each ingredient of cxrzero-mini gives: the recipe in small, with and without it, three seeds each.

    python benchmarks/mini_ingredients.py --data ../shared/data --work runs/parts --text FOLDER --made runs/mini

The recipe at 64 pixels for one epoch, a thread each (its figures are for comparison with each other only), with the
trunk, teachers and drawn films that `make model` left in runs/mini. The AUROC is the mean over the findings with at
least ten of the adult films of patients kept out of training; the validation splits are not touched. FOLDER holds
all-MiniLM-L6-v2, see recipes/mini_start.py.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.mini_films import films
from recipes.mini_words import FINDINGS

RECIPES = Path(__file__).parents[1] / "recipes"
SIZE, EPOCHS = 64, 1
MIN_POSITIVES = 10
SEEDS = (0, 1, 2)
DRAWN = ("--phantoms", "2500", "--composites", "1500")
TEACHERS = ("--teacher", "TEACHER-0", "TEACHER-1")


@dataclass(frozen=True)
class Variant:
    """A way to make the model.

    Attributes:
        pairs: options of recipes/mini_pairs.py.
        start: options of recipes/mini_start.py; None = a text tower from scratch, with random weights of the trunk too.
        beside: the variant that differs in nothing else.
    """

    name: str
    pairs: tuple[str, ...] = (*DRAWN, *TEACHERS)
    start: tuple[str, ...] | None = ("--trunk", "TRUNK")
    beside: str = "the recipe"


VARIANTS = (
    Variant("the recipe"),
    Variant("without phantoms and findings drawn on films", pairs=("--phantoms", "0", "--composites", "0", *TEACHERS)),
    Variant("without distillation", pairs=DRAWN),
    Variant("without self-supervision", start=()),
    Variant("text tower from scratch", start=None, beside="without self-supervision"),
)


def run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


def write_labels(data: Path, path: Path) -> None:
    """The held-out adult films with their labels, for `cxrzero train --val-labels`."""
    kept = [film for film in films(data) if film.source == "nih" and film.part == "held"]
    common = [label for label in FINDINGS if sum(film.labels[label] for film in kept) >= MIN_POSITIVES]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "patient_id", *(FINDINGS[label][0] for label in common)])
        writer.writerows([film.path, film.patient, *(int(film.labels[label]) for label in common)] for film in kept)


def prepare(variant: Variant, seed: int, args: argparse.Namespace) -> list[str]:
    """Captions and start of one model; the command that trains it."""
    made = args.made
    place = {f"TEACHER-{n}": str(made / f"teacher-{n}") for n in (0, 1)} | {"TRUNK": str(made / "trunk.safetensors")}
    pairs = args.work / "pairs" / "-".join(part.strip("-") for part in variant.pairs)
    if not (pairs / "pairs.csv").exists():
        pairs.mkdir(parents=True)
        for drawn in ("phantoms", "composites"):
            (pairs / drawn).symlink_to((made / drawn).resolve())
        options = [place.get(part, part) for part in variant.pairs]
        run(str(RECIPES / "mini_pairs.py"), "--data", str(args.data), "--out", str(pairs), *options)
    start = ["--arch", "cxrzero-mini", "--image-size", str(SIZE)]
    if variant.start is not None:
        folder = args.work / "starts" / f"{'-'.join(variant.start).strip('-') or 'plain'}-{seed}"
        if not folder.exists():
            options = [place.get(part, part) for part in variant.start]
            run(
                str(RECIPES / "mini_start.py"), "--data", str(args.data), "--text", str(args.text),
                "--out", str(folder), "--size", str(SIZE), "--seed", str(seed), *options,
            )  # fmt: skip
        start = ["--init", str(folder), "--freeze", "text"]
    return [
        "-m", "cxrzero", "train", str(pairs / "pairs.csv"), "--image-root", str(args.data),
        "--out", str(folder_of(variant, seed, args)), "--overwrite", *start, "--epochs", str(EPOCHS),
        "--batch-size", "64", "--texts-per-image", "4", "--lr", "0.001", "--loss", "sigmoid", "--mixup", "0.2",
        "--precision", "bf16", "--threads", "1", "--seed", str(seed), "--val-labels", str(args.work / "labels.csv"),
        "--store", str(args.work / "store"), "--decode-workers", "1",
    ]  # fmt: skip


def folder_of(variant: Variant, seed: int, args: argparse.Namespace) -> Path:
    folder: Path = args.work / "runs" / f"{variant.name.replace(' ', '-')}-{seed}"
    return folder


def train(command: list[str], folder: Path) -> float:
    """Mean AUROC after the last epoch."""
    if not (folder / "model.json").exists():
        run(*command)
    with (folder / "metrics.jsonl").open(encoding="utf-8") as file:
        found = [line["validation"]["auroc"][0] for line in map(json.loads, file) if "validation" in line]
    value = round(float(found[-1]), 4)
    print(folder.name, value, file=sys.stderr, flush=True)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--made", type=Path, required=True, help="where `make model` put its parts")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time, a thread each")
    parser.add_argument("--out", type=Path, help="JSON of the table")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    write_labels(args.data, args.work / "labels.csv")
    each = [(variant, seed) for seed in SEEDS for variant in VARIANTS]
    commands = [prepare(variant, seed, args) for variant, seed in each]
    with ThreadPoolExecutor(args.jobs) as pool:
        values = list(pool.map(train, commands, [folder_of(variant, seed, args) for variant, seed in each]))
    found: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for (variant, _), value in zip(each, values, strict=True):
        found[variant.name].append(value)
    show(found)
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def show(found: dict[str, list[float]]) -> None:
    """Differences are taken seed by seed: the same films, order and first weights where they can be the same."""
    print("| | AUROC of three seeds | mean | difference (standard error) |\n|---|---|---|---|")
    for variant in VARIANTS:
        values = np.array(found[variant.name])
        gain = values - np.array(found[variant.beside])
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        same = variant.name == variant.beside
        told = "" if same else f"{gain.mean():+.3f} ({error:.3f}) to {variant.beside}"
        print(f"| {variant.name} | {', '.join(f'{value:.3f}' for value in values)} | {values.mean():.3f} | {told} |")


if __name__ == "__main__":
    main()
