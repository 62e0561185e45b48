"""Maps whose peak is where a test wants it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrzero.heatmap.arrays import FilmMaps, Region, write_npz

Place = tuple[float, float]  # x and y as fractions of the film


def film_maps(
    path: str,
    peaks: dict[str, Place],
    size: tuple[int, int] = (200, 100),
    *,
    frame: int = 1,
    method: str = "patch",
    fingerprint: str = "f" * 64,
) -> FilmMaps:
    """Maps that fall off evenly from a peak; `size` is (columns, rows) of the film, a map has half of either."""
    columns, rows = size
    h, w = rows // 2, columns // 2
    y, x = (np.arange(h) + 0.5)[:, None] / h, (np.arange(w) + 0.5) / w
    maps = [-np.hypot(x - at[0], y - at[1]) for at in peaks.values()]
    return FilmMaps(
        path=path,
        frame=frame,
        labels=tuple(peaks),
        maps=np.array(maps, np.float32),
        probabilities=np.full(len(maps), 0.5, np.float32),
        rows=rows,
        columns=columns,
        method=method,
        fingerprint=fingerprint,
        orientation=1,
        seen=Region(0, 0, columns, rows),
    )


def write_folder(folder: Path, maps: list[FilmMaps]) -> Path:
    """A folder as `heatmap --format npz` writes it, without its table, which `eval` does not read."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(maps):
        write_npz(folder / f"{number:04d}.npz", each)
    return folder
