"""`cxrzero predict` over a folder, the whole command: images per second, processor time, peak memory.

    python benchmarks/archive.py 500 50000 [--side 1024] [--model cxrzero-mini]

DISTINCT phantoms are drawn as 8-bit PNG, and are in the folder many times under other names (hard links). The cache is
empty at first and is kept (in a folder of its own), as in any first pass. Start and end of the command count. The
figures are for two cores: on a larger machine, run it under `taskset -c 0,1`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from cxrzero.bench.machine import machine, versions
from cxrzero.phantom import draw

DISTINCT = 100
FILES_PER_FOLDER = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="+", metavar="N")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("options", nargs="*", help="more options of predict, after --")
    args = parser.parse_args()
    print(machine(), versions())
    with tempfile.TemporaryDirectory() as work:
        films = draw_films(Path(work) / "drawn", args.side)
        for size in args.sizes:
            folder = Path(work) / f"archive{size}"
            fill(folder, films, size)
            wall, busy, peak = predict(folder, Path(work), [args.model, *args.options])
            print(
                f"{size} films of {args.side} × {args.side} pixels: {size / wall:.1f} images/s ({wall:.1f} s), "
                f"{1000 * busy / size:.1f} core seconds per 1,000, peak {peak:.0f} MB",
                flush=True,
            )


def draw_films(folder: Path, side: int, count: int = DISTINCT) -> list[Path]:
    folder.mkdir()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(partial(draw_film, folder, side), range(count)))


def draw_film(folder: Path, side: int, seed: int) -> Path:
    path = folder / f"{seed:03}.png"
    Image.fromarray(draw(seed, side).to_uint8()).save(path)
    return path


def fill(folder: Path, films: list[Path], size: int) -> None:
    for number in range(size):
        part = folder / f"{number // FILES_PER_FOLDER:04}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number:07}.png").hardlink_to(films[number % len(films)])


def predict(folder: Path, work: Path, model: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MB of the command and of what it starts."""
    out = work / f"{folder.name}.csv"
    command = [sys.executable, "-m", "cxrzero", "predict", str(folder), "--out", str(out), "--quiet", "--model", *model]
    environment = {**os.environ, "CXRZERO_CACHE_DIR": str(work / f"{folder.name}.cache")}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
