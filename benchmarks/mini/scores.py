"""Who gives scores to films: a bundle that is asked, another program's table, two numbers that anything sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mini.subsets import Subset
from cxrzero import Screener
from cxrzero.images import decode
from cxrzero.maths import Floats
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.stats.metrics import auroc

Scorer = Callable[[Subset], dict[str, Floats]]  # label → (N,), higher = rather there
SIDE = 128


class Asked:
    """A bundle with the prompts of its own templates ("X", "no X"), or with the built-in bank's."""

    def __init__(self, screener: Screener, data: Path, bank: bool = False) -> None:
        self._screener, self._data, self._bank = screener, data, bank

    def __call__(self, subset: Subset) -> dict[str, Floats]:
        labels, paths = list(subset.truth), subset.paths(self._data)
        rows = self._screener.predict(paths, labels=labels, prompts=BUILT_IN if self._bank else None)
        unread = [row.path for row in rows if row.status != "ok"]
        if unread or len(rows) != len(paths):
            raise SystemExit(f"{subset.name}: {len(unread)} films could not be scored, e.g. {unread[:3]}")
        return {label: np.array([row.scores[label] for row in rows], np.float64) for label in labels}


class Kept:
    """scores.npz of another program: of a film's own copy if it has that, else of the film."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "scores.npz") as file:
            self._rows = {str(name): row for row, name in enumerate(file["names"])}
            self._columns = {str(label): column for column, label in enumerate(file["labels"])}
            self._scores = file["scores"].astype(np.float64)

    def __call__(self, subset: Subset) -> dict[str, Floats]:
        rows = [self._rows[film.path if film.path in self._rows else film.name] for film in subset.films]
        return {label: self._scores[rows, self._columns[column]] for label, column in subset.columns.items()}


class Seen:
    """Mean brightness or sharpness (variance of the Laplacian) of the squashed film, in the direction that suits a
    label best."""

    def __init__(self, data: Path, number: int) -> None:
        self._data, self._number = data, number

    def __call__(self, subset: Subset) -> dict[str, Floats]:
        values = brightness_and_sharpness(subset.paths(self._data))[self._number]
        return {label: values if auroc(values, truth) >= 0.5 else -values for label, truth in subset.truth.items()}


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
