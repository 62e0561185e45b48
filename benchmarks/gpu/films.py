"""Films drawn once, in the forms that end to end is measured with; as many names for them (links) as are asked for.

png, jpeg 1024 × 1024 pixels, 8 bits · jpeg2000, explicit: DICOM, 2048 × 1792 pixels, 12 bits, lossless
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.gpu.worker import mark, parser
from cxrzero.phantom import draw, sample_findings

SIDE = 1024
DICOM_SIZE = (2048, 1792)
JPEG_QUALITY = 90
SUFFIXES = {"png": "png", "jpeg": "jpg", "jpeg2000": "dcm", "explicit": "dcm"}
FILES_PER_FOLDER = 1000


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--films", type=int, default=96, help="distinct ones")
    options.add_argument("--dicom-films", type=int, default=24)
    options.add_argument("--shrink", type=int, default=1, help="divides the sides, to try the program")
    args = options.parse_args()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for form in SUFFIXES:
            (args.work / form).mkdir(parents=True, exist_ok=True)
        list(pool.map(partial(draw_raster, args.work, SIDE // args.shrink), range(args.films)))
        mark(args.work, "png")
        mark(args.work, "jpeg")
        height, width = (side // args.shrink for side in DICOM_SIZE)
        list(pool.map(partial(draw_dicom, args.work, (height, width)), range(args.dicom_films)))
        mark(args.work, "explicit")
        mark(args.work, "jpeg2000")


def draw_raster(work: Path, side: int, seed: int) -> None:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(draw(seed, side, sample_findings(np.random.default_rng(seed))).to_uint8())
    image.save(work / "png" / f"{seed:03}.png")
    image.save(work / "jpeg" / f"{seed:03}.jpg", quality=JPEG_QUALITY)


def draw_dicom(work: Path, size: tuple[int, int], seed: int) -> None:
    from cxrzero.phantom.dicom import write_dicom

    phantom = draw(seed, size)
    for form in ("explicit", "jpeg2000"):
        write_dicom(work / form / f"{seed:03}.dcm", phantom, transfer_syntax=form)  # type: ignore[arg-type]


def fill(folder: Path, films: list[Path], size: int, link: Callable[[Path, Path], None] = os.link) -> None:
    """`size` names for the films, one after the other, in folders of FILES_PER_FOLDER."""
    for number in range(size):
        part = folder / f"{number // FILES_PER_FOLDER:04}"
        part.mkdir(parents=True, exist_ok=True)
        film = films[number % len(films)]
        link(film, part / f"{number:07}{film.suffix}")


if __name__ == "__main__":
    main()
