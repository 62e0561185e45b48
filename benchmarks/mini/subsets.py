"""The films that the model in the box is judged on, and what is asked of them.

Of part "val", nih128's films are read as nih128 has them (128 and 64 pixels), so that models stay comparable; films of
part "held" are train patients that no training with texts has seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrzero.maths import Bools
from recipes.mini_films import Film, films, rows_of
from recipes.mini_words import FINDINGS

PARTS = ("val", "held")
FEW = 3


@dataclass(frozen=True)
class Subset:
    """Attributes:
    films: with the path of the copy that is asked.
    truth: label as it is asked → (N,) bool.
    columns: label as it is asked → label of scores.npz.
    """

    name: str
    films: list[Film]
    truth: dict[str, Bools]
    columns: dict[str, str]

    @property
    def clusters(self) -> list[str]:
        """(N,) what is drawn together in the bootstrap: the patient, or the film where patients are unknown."""
        return [film.patient for film in self.films]

    def paths(self, data: Path) -> list[str]:
        return [os.fspath(data / film.path) for film in self.films]


def subsets(data: Path, part: str) -> Iterator[Subset]:
    """Adults, children, tuberculosis."""
    listed = [film for film in films(data) if film.part == part]
    yield (
        adults("nih128 val", copies_of(listed, data, "nih128"))
        if part == "val"
        else adults(f"nih {part}", [film for film in listed if film.source == "nih"])
    )
    yield _asked(f"kermany {part}", listed, "pneumonia", "child pneumonia")
    yield _asked(f"kermany {part}, sick", listed, "bacterial pneumonia", "child bacterial")
    yield _asked(f"shenzhen {part}", listed, "tuberculosis", "tuberculosis")


def adults(name: str, chosen: Sequence[Film]) -> Subset:
    """Films of ChestX-ray14, asked for its fourteen findings."""
    columns = {FINDINGS[label][0]: label for label in sorted(FINDINGS)}
    truth = {asked: np.array([film.labels[label] for film in chosen]) for asked, label in columns.items()}
    return Subset(name, list(chosen), truth, columns)


def _asked(name: str, listed: Sequence[Film], label: str, column: str) -> Subset:
    chosen = [film for film in listed if column in film.labels]
    return Subset(name, chosen, {label: np.array([film.labels[column] for film in chosen])}, {label: column})


def copies_of(listed: Sequence[Film], data: Path, subset: str) -> list[Film]:
    """Those of the films that a subset of ChestX-ray14 has, in its order, with its copies and its labels."""
    known = {film.name: film for film in listed}
    found = []
    for row in rows_of(data / subset / f"{subset}.csv"):
        film = known.get(Path(row["image"]).stem)
        if film is not None:
            labels = {label: row[label] == "1" for label in FINDINGS}
            found.append(replace(film, path=f"{subset}/{row['image']}", size=int(row["size"]), labels=labels))
    return found


def in_two_sizes(data: Path) -> tuple[Subset, Subset]:
    """The val films of nih128 of which there is a larger copy: the smaller ones, the larger ones. They are few, so
    only findings with FEW positives are asked for."""
    listed = {film.name: film for film in films(data) if film.part == "val"}
    smaller = [film for film in copies_of(list(listed.values()), data, "nih128") if film.size < listed[film.name].size]
    larger = [listed[film.name] for film in smaller]
    few = _common(adults("nih128 val, smaller copies", smaller))
    return few, replace(few, name="nih128 val, larger copies", films=larger)


def _common(subset: Subset) -> Subset:
    truth = {label: values for label, values in subset.truth.items() if values.sum() >= FEW}
    return replace(subset, truth=truth, columns={label: subset.columns[label] for label in truth})


def to_score(data: Path) -> list[Film]:
    """Every film, and the smaller copies of val that are asked too, under their path as a name: for scores.npz."""
    listed = films(data)
    known = {film.path for film in listed}
    val = copies_of([film for film in listed if film.part == "val"], data, "nih128")
    return [*listed, *(replace(film, name=film.path) for film in val if film.path not in known)]


# Kind → group → whether a film is in it.
GROUPS: dict[str, dict[str, Callable[[Film], bool]]] = {
    "view": {view: lambda film, view=view: film.view == view for view in ("PA", "AP")},
    "sex": {sex: lambda film, sex=sex: film.sex == sex for sex in ("F", "M")},
    "age": {
        "under 40": lambda film: film.age is not None and film.age < 40,
        "40 to 60": lambda film: film.age is not None and 40 <= film.age <= 60,
        "over 60": lambda film: film.age is not None and film.age > 60,
    },
}
