"""Turns what is known of the open films into pairs.csv for training cxrzero-mini.

    python recipes/mini_pairs.py --data ../shared/data --out runs/mini [--teacher runs/mini/teacher-0 …]
        [--sources together] [--phantoms 2500] [--composites 3000] [--view] [--age]

writes pairs.csv; image paths are relative to --data. A label becomes several true statements
(recipes/mini_statements.py), a box statements with a side (recipes/mini_boxes.py). Every statement that follows from
what is known of an image is a row of that image, so that training never takes a true statement for a false one.
`weight` says how often a statement is drawn: findings that are present more often than absent ones, and rare ones more
often than common ones. Films of part "train" are trained on, those of part "held" are validation rows.

Sources together: the films are one group, but for the subsets that were selected by finding. Each is asked what any
other brings up, so that a normal film is normal wherever it comes from. Apart: each source is a group and is asked only
what its own labels say; the level of a score then differs between sources. Drawn pictures are groups of their own
either way, so that the drawing is not learned as the finding. The column `source` says where a film is from.

With teachers (recipes/mini_teacher.py), `truth` is the mean of the label and the teachers' opinion, or their opinion
alone where a film has no such label; their opinion does not tell the sources of normal films apart. Without, what a
film has no label for counts as false.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrzero.maths import sigmoid
from cxrzero.train.model.erase import Floats, fit_eraser
from recipes import mini_composites, mini_phantoms
from recipes.mini_boxes import place_statements, places, shares
from recipes.mini_films import HELD_OUT_IN, Film, films
from recipes.mini_statements import (
    SOURCE,
    Probabilities,
    Statements,
    adult_truth,
    age_statements,
    and_also,
    certain,
    film_statements,
    rarities,
    view_statements,
)
from recipes.mini_words import RESERVED

PHANTOMS = 0.5  # weight of the phantoms
COMPOSITES = 0.8  # weight of the films with a drawn finding
COMPOSED = 128  # pixels of the films that are drawn on
COLUMNS = ("image", "text", "patient_id", "split", "group", "source", "weight", "truth")
SPLIT = {"train": "train", "held": "val"}  # part → split; films of other parts are in no row
# Groups of subsets that are kept apart. nih was picked as "Pneumonia versus No Finding" and nih_more by its findings,
# and both are sharper than the natural mix: in one group with it, their look would be the finding.
SELECTED = frozenset({"nih_more", "nih"})
APART = {
    "nih_more": "adult-findings", "nih": "adult-pneumonia", "nih128": "adult", "nih64": "adult",
    "kermany": "child", "shenzhen": "tuberculosis", "hannover": "covid",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """One image and what is said of it.

    Attributes:
        image: path, relative to the data folder.
        patient: "" = unknown.
        split: "train" or "val".
        group: images of one group are asked the same.
        source: where the image is from.
    """

    image: str
    patient: str
    split: str
    group: str
    source: str
    statements: Statements


@dataclass(frozen=True)
class Options:
    """What the captions are made of.

    Attributes:
        together: all sources in one group.
        view, age: whether they are said.
        boxes: whether sides and zones of boxes are said.
        phantoms, composites: how many are drawn.
    """

    together: bool = True
    view: bool = False
    age: bool = False
    boxes: bool = True
    phantoms: int = 2500
    composites: int = 3000


class Teacher:
    """What runs of recipes/mini_teacher.py think of every film: the mean of their log odds, without what tells the
    sources of normal films apart. Each source's labels are its own, so that by the log odds as they are a linear
    classifier names the source of nine normal films in ten, and a student would learn that too."""

    def __init__(self, folders: Sequence[Path], listed: Iterable[Film]) -> None:
        files = [np.load(folder / "scores.npz") for folder in folders]
        for file, folder in zip(files, folders, strict=True):
            if any(file[key].tolist() != files[0][key].tolist() for key in ("names", "labels")):
                raise SystemExit(f"{folder} has scores of other films or labels than {folders[0]}")
        self._labels = [str(label) for label in files[0]["labels"]]
        names = [str(name) for name in files[0]["names"]]
        odds = np.mean([file["scores"].astype(float) for file in files], axis=0)
        self._scores = dict(zip(names, sigmoid(levelled(odds, names, listed)), strict=True))

    def __call__(self, film: Film) -> Probabilities:
        """Label → probability.

        Raises:
            SystemExit: the scores are of an earlier list of films.
        """
        if film.name not in self._scores:
            raise SystemExit(f"the teachers have no score of {film.name}: run recipes/mini_teacher.py again")
        return dict(zip(self._labels, self._scores[film.name].tolist(), strict=True))


def levelled(odds: Floats, names: Sequence[str], listed: Iterable[Film]) -> Floats:
    """(N, L) log odds after which no linear classifier tells the sources of normal films that are trained on apart."""
    source = {film.name: film.source for film in listed if film.part == "train" and film.normal}
    rows = [row for row, name in enumerate(names) if name in source]
    sources, groups = np.unique([source[names[row]] for row in rows], return_inverse=True)
    return odds if len(sources) < 2 else fit_eraser(odds[rows], groups, len(sources))(odds)


def images(data: Path, options: Options, teacher: Teacher | None = None) -> Iterator[Said]:
    """Yield every film of the parts "train" and "held" of which something is known."""
    chosen = [film for film in films(data) if film.part in SPLIT]
    rarity = rarities(film.labels for film in chosen if film.source == "nih")
    boxed = places(data, chosen) if options.boxes else {}
    share = shares(boxed.values())
    for film in chosen:
        if not options.together and not film.labels:
            continue
        taught = None
        # Adults that are held out are watched by their labels alone.
        if teacher is not None and (film.part == "train" or film.source != "nih"):
            taught = teacher(film)
        elif not film.labels:
            continue
        texts = film_statements(film, rarity, taught, options.together)
        if options.together or film.source == "nih":
            sided = place_statements(adult_truth(film, taught), boxed.get(film.name, {}), share, rarity)
            and_also(texts, {text: (weight * SOURCE[film.source], truth) for text, (weight, truth) in sided.items()})
        texts |= view_statements(film) if options.view else {}
        texts |= age_statements(film) if options.age else {}
        group = APART[film.subset] if film.subset in SELECTED or not options.together else "film"
        patient = "" if film.patient == film.name else film.patient
        yield Said(film.path, patient, SPLIT[film.part], group, film.source, texts)


def phantoms(folder: Path, count: int) -> Iterator[Said]:
    """The same for drawn chests, one in HELD_OUT_IN of them kept out."""
    for n, name in enumerate(mini_phantoms.draw_all(folder, count)):
        statements = certain(mini_phantoms.statements(mini_phantoms.FIRST_SEED + n), PHANTOMS)
        split = "train" if n % HELD_OUT_IN else "val"
        yield Said(str(folder / name), "", split, "phantom", "phantom", statements)


def composites(data: Path, folder: Path, count: int) -> Iterator[Said]:
    """The same for the first `count` normal films of one size with a finding drawn on them; a film keeps its
    patient."""
    normal = [film for film in films(data) if film.source == "nih" and film.normal and film.size == COMPOSED]
    chosen = [film for film in normal if film.part in SPLIT][:count]
    names = mini_composites.draw_all(folder, [data / film.path for film in chosen])
    for number, (film, name) in enumerate(zip(chosen, names, strict=True)):
        statements = certain(mini_composites.statements(number), COMPOSITES)
        yield Said(str(folder / name), film.patient, SPLIT[film.part], "composite", "composite", statements)


def write(data: Path, out: Path, options: Options, teacher: Teacher | None = None) -> tuple[int, int]:
    """Write pairs.csv; returns (images, rows)."""
    out.mkdir(parents=True, exist_ok=True)
    number = rows = 0
    allowed: set[str] = set()
    with (out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for said in _everything(data, out, options, teacher):
            number += 1
            for text in said.statements.keys() - allowed:
                if any(phrase in text for phrase in RESERVED):
                    raise ValueError(f"{said.image}: the caption {text!r} uses a reserved phrase")
                allowed.add(text)
            for text, (weight, truth) in said.statements.items():
                writer.writerow(
                    (
                        said.image,
                        text,
                        said.patient,
                        said.split,
                        said.group,
                        said.source,
                        f"{weight:.4g}",
                        f"{truth:.3g}",
                    )
                )
                rows += 1
    return number, rows


def _everything(data: Path, out: Path, options: Options, teacher: Teacher | None) -> Iterator[Said]:
    drawn: Iterable[Said] = itertools.chain(
        phantoms(out / "phantoms", options.phantoms) if options.phantoms else (),
        composites(data, out / "composites", options.composites) if options.composites else (),
    )
    yield from images(data, options, teacher)
    for said in drawn:
        yield replace(said, image=os.path.relpath(said.image, data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sources")
    parser.add_argument("--out", type=Path, required=True, help="folder for pairs.csv and what is drawn")
    parser.add_argument("--teacher", type=Path, nargs="*", help="folders of runs of recipes/mini_teacher.py")
    parser.add_argument("--sources", choices=("apart", "together"), default="together")
    parser.add_argument("--phantoms", type=int, default=Options.phantoms, help="how many to draw; 0 = none")
    parser.add_argument(
        "--composites", type=int, default=Options.composites, help="how many films to draw on; 0 = none"
    )
    parser.add_argument("--view", action="store_true", help="say how a film was taken")
    parser.add_argument("--age", action="store_true", help="say how old the patient is")
    parser.add_argument("--no-boxes", action="store_true", help="say no sides and zones of boxes")
    args = parser.parse_args()
    teacher = Teacher(args.teacher, films(args.data)) if args.teacher else None
    options = Options(
        together=args.sources == "together",
        view=args.view,
        age=args.age,
        boxes=not args.no_boxes,
        phantoms=args.phantoms,
        composites=args.composites,
    )
    number, rows = write(args.data, args.out, options, teacher)
    print(f"{args.out / 'pairs.csv'}: {number} images, {rows} rows")


if __name__ == "__main__":
    main()
