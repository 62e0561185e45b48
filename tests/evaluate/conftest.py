"""Small tables on disk."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cxrzero.prediction import FIXED_COLUMNS

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table: write("a.csv", header, rows)."""

    def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])
        return str(path)

    return write_table


class Study:
    """A drawn evaluation: our own prediction table for three labels, labels spelt otherwise, three readers."""

    LABELS = ("Edema", "Pleural Effusion", "Mass")

    def __init__(self, write: Write, name: str, n: int, seed: int, first_id: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n = n
        self.truth = (rng.random((n, 3)) < (0.3, 0.2, 0.12)).astype(int)
        self.scores = 1 / (1 + np.exp(-0.5 * (rng.normal(size=(n, 3)) + 1.5 * self.truth)))
        ids = [f"p{first_id + i}.png" for i in range(n)]
        cosines = [label + suffix for label in self.LABELS for suffix in ("_cos_pos", "_cos_neg")]
        rows, scored = [], np.ones(n, bool)
        for i in range(n):
            scored[i] = i % 25 != 7
            state = ("ok", "") if scored[i] else ("failed", "truncated: the file ends early")
            numbers = [*self.scores[i], *(x for s in self.scores[i] for x in (s / 2, 0.1))] if scored[i] else [""] * 9
            view = "PA" if i % 3 else "AP"
            rows.append([f"films/a/{ids[i]}", 1, "DX", view, "", "", "", "", state[0], "", state[1], *numbers])
        self.scored = scored
        self.predictions = write(f"{name}.csv", [*FIXED_COLUMNS, *self.LABELS, *cosines], rows)
        header = ["Image Index", "Patient ID", "Patient Sex", "Patient Age", "edema", "Pleural_Effusion", "MASS"]
        people = [[(first_id + i) // 2, "MF"[i // 2 % 2], i // 2 * 7 % 90] for i in range(n)]
        self.labels = write(f"{name}_labels.csv", header, [[ids[i], *people[i], *self.truth[i]] for i in range(n)])
        self.readers = tuple(
            write(
                f"{name}_reader{r}.csv",
                ["image", "edema", "Pleural effusion"],
                [[ids[i], *(int(t == (rng.random() < 0.8)) for t in self.truth[i, :2])] for i in range(n)],
            )
            for r in range(3)
        )


@pytest.fixture
def study(write: Write) -> Study:
    return Study(write, "test", 300, seed=1)


@pytest.fixture
def validation(write: Write) -> Study:
    return Study(write, "validation", 200, seed=2, first_id=5000)
