"""What a frozen trunk sees in films, kept in blocks: WORK/lite0-224/00000.npz has the first BLOCK films.

A block that is there is not made again, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mini.trunks import TRUNKS, Embed, Values
from recipes.mini_films import Film

BLOCK = 500  # films of a file
BATCH = 25


@dataclass(frozen=True)
class Source:
    """Where features come from: a trunk and the side of its square input, "lite0-224"."""

    trunk: str
    side: int

    def __str__(self) -> str:
        return f"{self.trunk}-{self.side}"

    @classmethod
    def named(cls, name: str) -> Source:
        trunk, _, side = name.rpartition("-")
        if trunk not in TRUNKS or not side.isdecimal():
            raise SystemExit(f"{name}: features are named as lite0-224; there is {', '.join(TRUNKS)}")
        return cls(trunk, int(side))


def make(
    counts: Mapping[Source, int], films: Sequence[Film], data: Path, work: Path, wheels: Path, threads: int
) -> None:
    """Compute the blocks that are missing for the first so many of `films`.

    Sources of one side share the reading of a film.
    """
    trunks: dict[Source, Embed] = {}
    for start in range(0, max(counts.values()), BLOCK):
        missing = [s for s, count in counts.items() if start < count and not _file(work, s, start).exists()]
        for side in sorted({source.side for source in missing}):
            block = films[start : start + BLOCK]
            grey = np.stack([squeezed(data / film.path, side) for film in block])
            for source in missing:
                if source.side != side:
                    continue
                if source not in trunks:
                    trunks[source] = TRUNKS[source.trunk](wheels, threads)
                started = time.monotonic()
                parts = [trunks[source](grey[at : at + BATCH]) for at in range(0, len(grey), BATCH)]
                seconds = time.monotonic() - started
                _keep(np.concatenate(parts), block, seconds, _file(work, source, start))
                told = f"{source}: {start + len(grey)} films, {len(grey) / seconds:.1f} films/s"
                print(told, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Features:
    """Attributes:
    values: (N, D).
    rate: films a second of the trunk alone, without reading films.
    """

    values: Values
    rate: float


def load(source: Source, films: Sequence[Film], work: Path) -> Features:
    """Features of the films; SystemExit if these are not the first ones of what the features were made of."""
    values, seconds = [], 0.0
    for start in range(0, len(films), BLOCK):
        path = _file(work, source, start)
        expected = [film.name for film in films[start : start + BLOCK]]
        with np.load(path) as file:
            if file["names"].tolist()[: len(expected)] != expected:
                raise SystemExit(f"{path} has other films: take another folder, or delete this one")
            values.append(file["values"])
            seconds += float(file["seconds"])
    found = np.concatenate(values)
    return Features(found[: len(films)], len(found) / seconds)


def squeezed(path: Path, side: int) -> np.ndarray:
    """(side, side) uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L").resize((side, side), Image.Resampling.BICUBIC))


def _file(work: Path, source: Source, start: int) -> Path:
    return work / str(source) / f"{start:05d}.npz"


def _keep(values: Values, films: Sequence[Film], seconds: float, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, values=values, names=np.array([film.name for film in films]), seconds=seconds)
    part.replace(path)
