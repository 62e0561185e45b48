"""Turns the labels of the open chest X-ray subsets into pairs.csv for training cxrzero-mini.

    python recipes/mini_pairs.py --data ../shared/data --out runs/mini [--phantoms 2500] [--composites 1500]
        [--teacher runs/control-1 …]

writes pairs.csv; image paths are relative to --data. A label becomes several true statements (recipes/mini_words.py).
Every statement that follows from an image's labels is a row of that image, so that training never takes a true
statement for a false one. `weight` says how often a statement is drawn: findings that are present more often than
absent ones, and rare ones more often than common ones. Each source is a group, so that the difference between children
and adults, or between the picture sizes of two sources, does not become a finding. Only train splits are used; some
patients of the adult films are kept out as validation rows.

With teachers (benchmarks/mini_control.py), `truth` is the mean of the label and the teachers. Software mined the labels
from reports, and a tenth of them are wrong, so a teacher's doubt counts as much as a label's certainty.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cxrzero.maths import sigmoid
from recipes import mini_composites, mini_phantoms
from recipes.mini_words import ABNORMAL, ABSENT, CLEAR, FINDINGS, NORMAL, OPACITY, OPAQUE, PLAIN, RESERVED, VIEWS

HELD_OUT_IN = 16  # one patient in so many is kept out of training
RAREST = 8.0  # largest weight of a rare finding
CHILDREN = 0.3  # weight of the children's films: many, and easy; adult films are what counts
TUBERCULOSIS = 2.0  # weight of Shenzhen's films: few
PHANTOMS = 0.5  # weight of the phantoms
COMPOSITES = 0.3  # weight of the films with a drawn finding
NEGATED = 0.12  # weight of one "no X"; there are thirteen or so to an image
HARDLY = 0.002  # weight of what is more false than true: said of the image, but left to others to bring up
DOUBTED = 0.05  # truth below which a statement is not listed: it counts as false
TEACHER = 0.5  # share of the teacher in a truth
COLUMNS = ("image", "text", "patient_id", "split", "group", "weight", "truth")
Statements = dict[str, tuple[float, float]]  # text → (weight, truth)
Row = tuple[str, str, str, str, Statements]  # image, patient_id, split, group, what is said of it
Probabilities = Mapping[str, float]  # label → the teacher's


def adult_statements(row: dict[str, str], rarity: dict[str, float], teacher: Probabilities | None = None) -> Statements:
    """What follows from one row of ChestX-ray14 labels. A blank label counts as absent, as in the published lists."""
    labelled = {label: float(row[label] == "1") for label in FINDINGS}
    truth = labelled
    if teacher is not None:
        truth = {label: TEACHER * teacher[label] + (1 - TEACHER) * value for label, value in labelled.items()}
    present = [label for label in FINDINGS if labelled[label]]
    texts: Statements = {}
    for label, words in FINDINGS.items():
        says = _Saying(texts, truth[label], rarity[label] if label in present else HARDLY)
        says(words, 1.0)
        says(PLAIN.get(label, ()), 0.5)
        says([f"chest radiograph with {words[0]}", f"{words[0]} is present"], 0.25)
        denies = _Saying(texts, 1 - truth[label], HARDLY if label in present else NEGATED)
        denies([f"no {words[0]}"], 1.0)
        denies([f"no {word}" for word in (*words[1:], *PLAIN.get(label, ()))], 0.5)
        denies(ABSENT.get(label, ()), 0.5)
        denies([f"there is no {words[0]}"], 0.25)
    opaque = max(truth[label] for label in OPAQUE)
    _Saying(texts, opaque, 0.2 if OPAQUE & set(present) else HARDLY)(OPACITY, 1.0)
    _Saying(texts, 1 - opaque, HARDLY if OPAQUE & set(present) else NEGATED)(CLEAR, 1.0)
    if present:
        _Saying(texts, 1.0, 0.1)(ABNORMAL, 1.0)
        for a, b in itertools.permutations(present, 2):
            _Saying(texts, min(truth[a], truth[b]), 0.3)([f"{FINDINGS[a][0]} and {FINDINGS[b][0]}"], 1.0)
    else:
        _Saying(texts, 1.0, 0.5)(NORMAL, 1.0)
    _Saying(texts, 1.0, 0.1)(VIEWS.get(row.get("view", ""), ()), 1.0)
    return texts


class _Saying:
    """Adds texts of one truth, drawn in proportion to `weight`."""

    def __init__(self, texts: Statements, truth: float, weight: float) -> None:
        self._texts, self._truth, self._weight = texts, truth, weight

    def __call__(self, words: Iterable[str], share: float) -> None:
        if self._truth >= DOUBTED:
            self._texts |= dict.fromkeys(words, (self._weight * share, self._truth))


def certain(weights: Mapping[str, float], factor: float = 1.0) -> Statements:
    """Statements that are plainly true, drawn `factor` times as often."""
    return {text: (weight * factor, 1.0) for text, weight in weights.items()}


def rarities(rows: list[dict[str, str]]) -> dict[str, float]:
    """Weight of each finding: the square root of how much rarer it is than the most common one, at most RAREST."""
    counts = Counter(label for row in rows for label in FINDINGS if row[label] == "1")
    most = max(counts.values())
    return {label: min(RAREST, math.sqrt(most / max(1, counts[label]))) for label in FINDINGS}


def child_statements(finding: str) -> dict[str, float]:
    """Kermany: normal, bacterial pneumonia or viral pneumonia; nothing else is known of these films."""
    if finding == "normal":
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {
            "no pneumonia": 1.0,
            "there is no pneumonia": 0.4,
            "no bacterial pneumonia": 0.3,
            "no viral pneumonia": 0.3,
            "the lungs are clear. no pneumonia.": 0.3,
        }
    kind = finding.removesuffix(" pneumonia")
    other = {"bacterial": "viral", "viral": "bacterial"}[kind]
    texts = dict.fromkeys(ABNORMAL, 0.1)
    return texts | {
        "pneumonia": 1.0,
        "chest radiograph with pneumonia": 0.4,
        "pneumonia is present": 0.4,
        f"{kind} pneumonia": 1.2,
        f"chest radiograph with {kind} pneumonia": 0.3,
        f"no {other} pneumonia": 0.5,
    }


def tuberculosis_statements(row: dict[str, str]) -> dict[str, float]:
    """Shenzhen: the reader's own words, and the sides and zones that they name."""
    if row["finding"] == "normal":
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {"no tuberculosis": 1.0, "no pulmonary tuberculosis": 0.6, "there is no tuberculosis": 0.3}
    reading = " ".join(row["text"].lower().replace(",", ", ").split())
    texts = dict.fromkeys(ABNORMAL, 0.1)
    if "tb" in reading:
        texts |= {
            "tuberculosis": 1.0,
            "pulmonary tuberculosis": 0.7,
            "chest radiograph with tuberculosis": 0.3,
            "tuberculosis is present": 0.3,
        }
        spelled = reading.replace("ptb", "pulmonary tuberculosis").replace("stb", "secondary tuberculosis")
        texts[spelled] = 0.5
        if "," not in reading and ";" not in reading and " with " not in reading:
            side = next((side for side in ("bilateral", "right", "left") if side in reading), None)
            zone = next((zone for zone in ("upper", "lower") if zone in reading), None)
            if side:
                texts[f"{side} tuberculosis"] = 0.4
            if side and zone and "middle" not in reading:
                texts[f"{side} {zone} tuberculosis"] = 0.4
    else:
        texts |= {reading: 1.0, "no tuberculosis": 0.5}
    return texts


def read_split(path: Path, split: str) -> list[dict[str, str]]:
    """The rows of one split of a subset's CSV."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one subset's CSV that may be trained on."""
    return read_split(path, "train")


def held_out(patient: str) -> bool:
    """Whether a patient is kept out of training; the same patient in every subset."""
    return hashlib.sha256(patient.encode()).digest()[0] % HELD_OUT_IN == 0


class Teacher:
    """The mean of the probabilities that runs of benchmarks/mini_control.py gave every film for every label."""

    def __init__(self, folders: Sequence[Path]) -> None:
        files = [np.load(folder / "scores.npz") for folder in folders]
        self._labels = [str(label) for label in files[0]["labels"]]
        mean = np.mean([sigmoid(file["scores"].astype(float)) for file in files], axis=0)
        self._scores = dict(zip(map(str, files[0]["names"]), mean, strict=True))

    def __call__(self, image: str) -> Probabilities:
        return dict(zip(self._labels, self._scores[image].tolist(), strict=True))


def images(data: Path, teacher: Teacher | None = None) -> Iterator[Row]:
    """Yield (image, patient_id, split, group, statements) for every training image."""
    # nih was picked as "Pneumonia versus No Finding" and comes at another size: a group of its own.
    for subset, group in (("nih128", "adult"), ("nih64", "adult"), ("nih", "adult-pneumonia")):
        rows = read(data / subset / f"{subset}.csv")
        rarity = rarities(rows)
        for row in rows:
            patient, image = row["patient_id"], f"{subset}/{row['image']}"
            split = "val" if held_out(patient) else "train"
            taught = teacher(image) if teacher is not None and split == "train" else None
            yield image, f"nih-{patient}", split, group, adult_statements(row, rarity, taught)
    for row in read(data / "kermany" / "kermany.csv"):
        # Names do not say reliably who is who, so whole names are held out, not patients.
        split = "val" if held_out(row["image"]) else "train"
        yield f"kermany/{row['image']}", "", split, "child", certain(child_statements(row["finding"]), CHILDREN)
    for row in read(data / "shenzhen" / "shenzhen.csv"):
        split = "val" if held_out(row["image"]) else "train"
        yield f"shenzhen/{row['image']}", "", split, "tuberculosis", certain(tuberculosis_statements(row), TUBERCULOSIS)


def phantoms(folder: Path, count: int) -> Iterator[Row]:
    """The same for drawn chests, one in HELD_OUT_IN of them kept out."""
    for n, name in enumerate(mini_phantoms.draw_all(folder, count)):
        statements = certain(mini_phantoms.statements(mini_phantoms.FIRST_SEED + n), PHANTOMS)
        yield str(folder / name), "", "train" if n % HELD_OUT_IN else "val", "phantom", statements


def composites(data: Path, folder: Path, count: int) -> Iterator[Row]:
    """The same for the first `count` normal films with a finding drawn on them; a film keeps its patient."""
    rows = [row for row in read(data / "nih128" / "nih128.csv") if row["No Finding"] == "1" and row["size"] == "128"]
    rows = rows[:count]
    names = mini_composites.draw_all(folder, [data / "nih128" / row["image"] for row in rows])
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        patient = row["patient_id"]
        statements = certain(mini_composites.statements(number), COMPOSITES)
        yield str(folder / name), f"nih-{patient}", "val" if held_out(patient) else "train", "composite", statements


def write(data: Path, out: Path, teacher: Teacher | None = None, drawn: int = 0, drawn_on: int = 0) -> tuple[int, int]:
    """Write pairs.csv with `drawn` phantoms and `drawn_on` composites; returns (images, rows)."""
    out.mkdir(parents=True, exist_ok=True)
    number = rows = 0
    with (out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image, patient, split, group, statements in itertools.chain(
            images(data, teacher),
            _relative(phantoms(out / "phantoms", drawn) if drawn else (), data),
            _relative(composites(data, out / "composites", drawn_on) if drawn_on else (), data),
        ):
            number += 1
            for text, (weight, truth) in statements.items():
                if any(phrase in text for phrase in RESERVED):
                    raise ValueError(f"{image}: the caption {text!r} uses a reserved phrase")
                writer.writerow((image, text, patient, split, group, f"{weight:.4g}", f"{truth:.3g}"))
                rows += 1
    return number, rows


def _relative(rows: Iterable[Row], data: Path) -> Iterator[Row]:
    for image, *rest in rows:
        yield (os.path.relpath(image, data), *rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds kermany/, nih/, nih64/, nih128/ and shenzhen/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs.csv and the phantoms")
    parser.add_argument("--phantoms", type=int, default=2500, help="how many to draw; 0 = none")
    parser.add_argument("--composites", type=int, default=1500, help="how many normal films to draw on; 0 = none")
    parser.add_argument("--teacher", type=Path, nargs="*", help="folders of runs of benchmarks/mini_control.py")
    args = parser.parse_args()
    teacher = Teacher(args.teacher) if args.teacher else None
    number, rows = write(args.data, args.out, teacher, args.phantoms, args.composites)
    print(f"{args.out / 'pairs.csv'}: {number} images, {rows} rows")


if __name__ == "__main__":
    main()
