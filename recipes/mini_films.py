"""The films that cxrzero-mini is made from and judged on: each film once, in one order, with what is known of it.

    python recipes/mini_films.py --data ../shared/data

prints how many films of which source are in which part. Teachers, captions and benchmarks read this list, so that all
agree about which film is kept out of what.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from recipes.mini_words import FINDINGS

# ChestX-ray14's subsets have films in common. The first that has a film gives it: nih_more is of large originals,
# nih's copies are larger still, but some were equalised by their source, nih128 has 128 or 64 pixels, nih64 has 64.
NIH_SUBSETS = ("nih_more", "nih", "nih128", "nih64")
SOURCES = ("nih", "kermany", "shenzhen", "hannover")
PARTS = ("train", "held", "boxed", "val")
HELD_OUT_IN = 16  # one patient in so many is kept out of training
BOXED_IN = 3  # one patient with boxes in so many is kept for measuring where a model looks
# What a source says yes or no to. "child bacterial" is asked of children with pneumonia only.
LABELS = (*FINDINGS, "child pneumonia", "child bacterial", "tuberculosis")
MEAN, STD = 0.5, 0.25  # of the films' pixels in [0, 1], about


@dataclass(frozen=True)
class Film:
    """One film.

    Attributes:
        name: of the film in every file that the recipe writes: NIH's image index without suffix, or the path.
        path: of the picture, relative to the data folder.
        source: one of SOURCES, where the film was taken.
        patient: of a source that names its patients ("nih-00000001"), else the film's name.
        split: "train" or "val", as the data has it.
        part: one of PARTS. "val": split is val. "boxed": films of a third of the patients with boxes, out of every
            training and pseudo-label. "held": films of patients kept out of training, to watch and to calibrate.
        labels: of LABELS those that the source states. A blank of ChestX-ray14 is a no, as in its published lists.
        reading: a radiologist's words in small letters (shenzhen), else "".
        view: "AP", "PA" or "".
        age: years, None where unknown.
        sex: "F", "M" or "".
        size: pixels of the picture's longer side.
    """

    name: str
    path: str
    source: str
    patient: str
    split: str
    part: str
    labels: Mapping[str, bool]
    reading: str
    view: str
    age: int | None
    sex: str
    size: int

    @property
    def subset(self) -> str:
        """The folder that it lies in."""
        return self.path.partition("/")[0]

    @property
    def normal(self) -> bool:
        """Whether its source calls it so: every label that is stated is a no, and there is one."""
        return bool(self.labels) and not any(self.labels.values())


def films(data: Path) -> list[Film]:
    """Every film once: ChestX-ray14 (larger copies first), kermany, shenzhen, hannover."""
    return [*_nih(data), *_kermany(data), *_shenzhen(data), *_hannover(data)]


def held_out(patient: str) -> bool:
    """Whether a patient, named as in the source, is kept out of training; the same patient in every subset."""
    return hashlib.sha256(patient.encode()).digest()[0] % HELD_OUT_IN == 0


def kept_for_boxes(patient: str) -> bool:
    """Whether the films of a patient with boxes are kept for measuring."""
    return int.from_bytes(hashlib.sha256(f"box{patient}".encode()).digest()[:8], "big") % BOXED_IN == 0


def pixels(chosen: Sequence[Film], data: Path, side: int, processes: int = 2) -> npt.NDArray[np.uint8]:
    """(N, side, side): the films squeezed to a square, grey."""
    out = np.empty((len(chosen), side, side), np.uint8)
    read = partial(_squeezed, side=side)
    with ProcessPoolExecutor(processes) as pool:
        for row, picture in enumerate(pool.map(read, [data / film.path for film in chosen], chunksize=64)):
            out[row] = picture
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _squeezed(path: Path, side: int) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L").resize((side, side), Image.Resampling.BICUBIC))


def _nih(data: Path) -> Iterator[Film]:
    facts = {Path(row["image_index"]).stem: row for row in rows_of(data / "nih_facts.csv")}
    boxed = {row["image_index"].partition("_")[0] for row in rows_of(data / "nih_boxes.csv")}
    seen: set[str] = set()
    for subset in NIH_SUBSETS:
        for row in rows_of(data / subset / f"{subset}.csv"):
            name = Path(row["image"]).stem
            if name in seen:
                continue
            seen.add(name)
            patient, path, fact = row["patient_id"], f"{subset}/{row['image']}", facts[name]
            yield Film(
                name=name,
                path=path,
                source="nih",
                patient=f"nih-{patient}",
                split=row["split"],
                part="boxed" if _boxed(patient, row["split"], boxed) else _part(patient, row["split"]),
                labels={label: row[label] == "1" for label in FINDINGS},
                reading="",
                view=fact["view"],
                age=_years(fact["age"]),
                sex=fact["sex"],
                size=_size(data / path),
            )


def _kermany(data: Path) -> Iterator[Film]:
    """Children. File names do not say reliably who is who, so every film is a patient."""
    for row in rows_of(data / "kermany" / "kermany.csv"):
        sick = row["finding"] != "normal"
        labels = {"child pneumonia": sick}
        if sick:
            labels["child bacterial"] = row["finding"].startswith("bacterial")
        yield _unnamed(data, "kermany", row, labels, "", "AP")


def _shenzhen(data: Path) -> Iterator[Film]:
    for row in rows_of(data / "shenzhen" / "shenzhen.csv"):
        reading = " ".join(row["text"].lower().replace(",", ", ").split())
        yield _unnamed(data, "shenzhen", row, {"tuberculosis": row["finding"] != "normal"}, reading, "PA")


def _unnamed(data: Path, source: str, row: dict[str, str], labels: dict[str, bool], reading: str, view: str) -> Film:
    path, split = f"{source}/{row['image']}", row["split"]
    part = _part(row["image"], split)
    return Film(path, path, source, path, split, part, labels, reading, view, None, "", _size(data / path))


def _hannover(data: Path) -> Iterator[Film]:
    """Adults who all have COVID-19, which is no label of ours: nothing is stated."""
    for row in rows_of(data / "hannover" / "hannover.csv"):
        path, patient = f"hannover/{row['image']}", row["patient_id"]
        yield Film(
            name=path,
            path=path,
            source="hannover",
            patient=f"hannover-{patient}",
            split="train",
            part=_part(patient, "train"),
            labels={},
            reading="",
            view=row["view"],
            age=_years(row["age"]),
            sex=row["sex"].upper(),
            size=_size(data / path),
        )


def _boxed(patient: str, split: str, boxed: set[str]) -> bool:
    return split != "val" and patient in boxed and kept_for_boxes(patient)


def _part(patient: str, split: str) -> str:
    return "val" if split == "val" else "held" if held_out(patient) else "train"


def _years(age: str) -> int | None:
    return int(age) if age else None


def _size(path: Path) -> int:
    with Image.open(path) as picture:  # the header only
        return max(picture.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources")
    args = parser.parse_args()
    counts = Counter((film.subset, film.part) for film in films(args.data))
    print("| films of |", *(f"{part} |" for part in PARTS))
    print("|---" * (1 + len(PARTS)) + "|")
    for subset in dict.fromkeys(subset for subset, _ in counts):
        print(f"| {subset} |", *(f"{counts[subset, part]} |" for part in PARTS))


if __name__ == "__main__":
    main()
