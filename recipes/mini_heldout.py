"""The films that cxrzero-mini's calibration is fitted on and tested on: adults kept out of its training.

    python recipes/mini_heldout.py --data ../shared/data --out runs/mini/heldout

writes fit.txt and test.txt, lists of films for `cxrzero predict @LIST`, and fit.csv and test.csv, the labels of
ChestX-ray14 by their names in captions. Two thirds of the patients are for fitting, by a hash of the patient.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from cxrzero.train.data.split import is_held_out
from recipes.mini_films import Film, films
from recipes.mini_words import FINDINGS

TESTED = 1 / 3  # of the patients are for testing


def split(listed: list[Film]) -> dict[str, list[Film]]:
    """ "fit" and "test" → the adults that were held out."""
    held = [film for film in listed if film.part == "held" and film.source == "nih"]
    return {
        "fit": [film for film in held if not is_held_out(film.patient, TESTED)],
        "test": [film for film in held if is_held_out(film.patient, TESTED)],
    }


def write(data: Path, out: Path) -> dict[str, int]:
    """Write the lists and labels; the number of films in each."""
    out.mkdir(parents=True, exist_ok=True)
    parts = split(films(data))
    for name, chosen in parts.items():
        paths = [str((data / film.path).resolve()) for film in chosen]
        (out / f"{name}.txt").write_text("\n".join(paths) + "\n", "utf-8")
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "patient_id", *(words[0] for words in FINDINGS.values())])
            for film, path in zip(chosen, paths, strict=True):
                writer.writerow([path, film.patient, *(int(film.labels[label]) for label in FINDINGS)])
    return {name: len(chosen) for name, chosen in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    print(write(args.data, args.out))


if __name__ == "__main__":
    main()
