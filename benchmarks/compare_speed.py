"""How long `cxrzero compare` takes for two large tables, and how much memory.

    python benchmarks/compare_speed.py [--rows 200000] [--labels 14]

Writes two tables of the same films, the second in another order, with two films of each study, and compares them in a
process of its own, of which it says the time and the memory.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cxrzero.prediction import FIXED_COLUMNS

ROOT = "1.2.826.0.1.3680043.8.498."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--labels", type=int, default=14)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    common = rng.normal(size=(arguments.rows, arguments.labels))
    with tempfile.TemporaryDirectory() as folder:
        tables = [Path(folder, name) for name in ("a.csv", "b.csv")]
        orders = (range(arguments.rows), rng.permutation(arguments.rows).tolist())
        for table, order in zip(tables, orders, strict=True):
            scores = 1 / (1 + np.exp(-common - 0.3 * rng.normal(size=common.shape)))
            write(table, scores.astype(np.float32), order)
        print(f"{arguments.rows:,} rows, {arguments.labels} labels, {tables[0].stat().st_size / 1e6:.0f} MB each")
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "cxrzero", "compare", *tables, "--out", Path(folder, "out")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{time.perf_counter() - started:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time")
        print(f"{used.ru_maxrss / 1024:.0f} MiB at the peak")


def write(path: Path, scores: np.ndarray, order: Iterable[int]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIXED_COLUMNS, *(f"finding {n}" for n in range(scores.shape[1]))])
        for film in order:
            study = f"{ROOT}{10**29 + film // 2}"
            cells = {
                "path": f"archive/p{film // 4:06d}/s{film // 2:06d}/image{film % 2}.dcm",
                "frame": 1,
                "modality": "DX",
                "study_instance_uid": study,
                "series_instance_uid": f"{study}.1",
                "sop_instance_uid": f"{ROOT}{10**30 + film}",
                "status": "ok",
            }
            writer.writerow([*(cells.get(column, "") for column in FIXED_COLUMNS), *map(float, scores[film])])


if __name__ == "__main__":
    main()
