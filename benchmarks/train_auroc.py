"""Zero-shot AUROC while `cxrzero train` learns from labelled films turned into sentences, and of the final model.

    python benchmarks/train_auroc.py --data ../shared/data --out /tmp/train_auroc

Every number comes out of the command line that users have: `train --val-labels` (the curve), `predict` and `eval` (the
table). Films, all from the train splits of nih128 (adults) and kermany (children), or from kermany's val split:

    training   the other patients, with the statements that follow from their labels (recipes/mini_statements.py)
    curve      one patient in ten of both train splits; chooses the checkpoint, so it is no test
    test       another tenth of nih128's patients, and kermany's val split

Pneumonia is asked of the children only, the other findings of the adults only, so that no question can be answered by
telling children from adults. kermany's file names number its patients. Writes train_auroc.json and the run's curves
beside this script, in results/.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes import mini_statements
from recipes.mini_films import rows_of
from recipes.mini_words import FINDINGS

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "benchmarks" / "results"
# Label of ChestX-ray14 → words. Left out: Pneumonia (asked of the children) and Hernia (26 films).
ADULT = {name: words[0] for name, words in FINDINGS.items() if name not in ("Pneumonia", "Hernia")}
CHILD = "pneumonia"
FOLDS = 10
CURVE, TEST = 0, 1  # folds that are not trained on


@dataclass(frozen=True)
class Film:
    """A film, its patient, what is asked of it (blank = not asked) and what is said of it."""

    image: str
    patient: str
    group: str
    truth: dict[str, int]
    statements: mini_statements.Statements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kermany/ and nih128/")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and the run; must not exist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    counts = write_tables(options.data, options.out)
    load, started = os.getloadavg()[0], time.perf_counter()
    commands = run(options)
    minutes = (time.perf_counter() - started) / 60
    found = {
        "commands": commands,
        "films": counts,
        "minutes": round(minutes, 1),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "curve": curve(options.out / "run"),
        "test": table(options.out / "eval" / "metrics.json"),
    }
    (RESULTS / "train_auroc.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    shutil.copy(options.out / "run" / "curves.html", RESULTS / "train_auroc.html")
    print(json.dumps(found, indent=1))


def run(options: argparse.Namespace) -> list[str]:
    """Train, predict, evaluate; the commands, with folders as the user may name them."""
    data, out, labels = options.data, options.out, [CHILD, *ADULT.values()]
    commands = [
        f"train {out}/pairs.csv --out {out}/run --image-root {data} --val-labels {out}/curve.csv --device cpu"
        f" --image-size {options.image_size} --epochs {options.epochs} --seed {options.seed}",
        f"predict @{out}/test.txt --model {out}/run --labels '{','.join(labels)}' --out {out}/predictions.csv"
        " --no-cache --device cpu",
        f"eval {out}/predictions.csv {out}/test.csv --out {out}/eval --resamples 1000",
    ]
    for command in commands:
        subprocess.run([sys.executable, "-m", "cxrzero", *shlex.split(command)], check=True)
    return [f"cxrzero {each}".replace(str(data), "DATA").replace(str(out), "OUT") for each in commands]


def write_tables(data: Path, out: Path) -> dict[str, int]:
    """pairs.csv, curve.csv, test.csv and test.txt; films in each."""
    train = [*adults(data), *children(data, "train")]
    curve_films = [film for film in train if fold(film.patient) == CURVE]
    test = [film for film in train if fold(film.patient) == TEST and film.group == "adult"] + children(data, "val")
    kept = [f for f in train if fold(f.patient) != CURVE and (fold(f.patient) != TEST or f.group == "child")]
    with (out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "text", "patient_id", "split", "group", "weight", "truth"))
        for film in kept:
            for text, (weight, truth) in film.statements.items():
                writer.writerow((film.image, text, film.patient, "train", film.group, f"{weight:.4g}", f"{truth:.3g}"))
    for name, films in (("curve.csv", curve_films), ("test.csv", test)):
        write_labels(out / name, films)
    lines = [str((data / film.image).absolute()) for film in test]
    (out / "test.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return {"training": len(kept), "curve": len(curve_films), "test": len(test)}


def write_labels(path: Path, films: list[Film]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", "patient_id", CHILD, *ADULT.values()], lineterminator="\n")
        writer.writeheader()
        for film in films:
            writer.writerow({"image": film.image, "patient_id": film.patient} | film.truth)


def adults(data: Path) -> list[Film]:
    rows = [row for row in rows_of(data / "nih128" / "nih128.csv") if row["split"] == "train"]
    labels = [{name: row[name] == "1" for name in FINDINGS} for row in rows]
    rarity = mini_statements.rarities(labels)
    return [
        Film(
            image=f"nih128/{row['image']}",
            patient=f"nih-{row['patient_id']}",
            group="adult",
            truth={words: int(row[name] == "1") for name, words in ADULT.items()},
            statements=mini_statements.adult_statements(
                {name: float(value) for name, value in each.items()},
                {name: rarity[name] for name, value in each.items() if value},
                float(not any(each.values())),
            ),
        )
        for row, each in zip(rows, labels, strict=True)
    ]


def children(data: Path, split: str) -> list[Film]:
    """Numbers of patients restart between the splits."""
    rows = [row for row in rows_of(data / "kermany" / "kermany.csv") if row["split"] == split]
    return [
        Film(
            image=f"kermany/{row['image']}",
            patient=f"{split}-{child(row['image'])}",
            group="child",
            truth={CHILD: int(row["finding"] != "normal")},
            statements=mini_statements.certain(
                mini_statements.child_statements(row["finding"].removesuffix("pneumonia").strip().replace("normal", ""))
            ),
        )
        for row in rows
    ]


def child(image: str) -> str:
    """person12_virus_34.jpg → person12; NORMAL2-IM-0027-0001.jpg → IM-0027."""
    found = re.search(r"person\d+|IM-\d+", image)
    if found is None:
        raise ValueError(f"{image} names no patient")
    return found[0]


def fold(patient: str) -> int:
    return hashlib.sha256(patient.encode()).digest()[1] % FOLDS


def curve(folder: Path) -> list[dict[str, Any]]:
    """AUROC with its interval at every validation, per label and on average."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [
        {"epoch": r["epoch"], "step": r["step"], "mean": rounded(r["validation"]["auroc"])}
        | {label: rounded(value) for label, value in r["validation"]["labels"].items()}
        for r in records
        if "validation" in r
    ]


def table(path: Path) -> dict[str, Any]:
    """AUROC of each label on the test films, with `eval`'s interval and the bootstrap over patients."""
    found = json.loads(path.read_text("utf-8"))
    labels = {
        each["label"]: {
            "positive": each["n_positive"],
            "negative": each["n_negative"],
            "auroc": interval(each["ranks"]["auroc"]),
            "bootstrap": interval(each["ranks"]["auroc_bootstrap"])[1:],
        }
        for each in found["labels"]
    }
    return {"unit": found["unit"], "units": found["n_units"], "mean": interval(found["macro"]["auroc"]), **labels}


def interval(estimate: dict[str, float | None]) -> list[float | None]:
    return rounded([estimate["value"], estimate["low"], estimate["high"]])


def rounded(values: list[float | None]) -> list[float | None]:
    """None, of a label with films of one kind only, stays."""
    return [value if value is None else round(value, 4) for value in values]


if __name__ == "__main__":
    main()
