"""How long it takes to plan a run of many films, and how much memory the driver then holds.

    python benchmarks/cluster_plan.py [FILMS] [--tasks N]

Paths are generated and not read: 2,000,000 in folders of 1,000, as of an archive by patients. The plan is made as
`predict --engine` makes it (`cxrzero.cluster.slicing`) in a process of its own, of which the memory at its highest is
what the system says (`ru_maxrss`), before the walk and after it; a second walk of a tenth as many films shows that it
does not grow with them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cxrzero.bench.machine import machine, versions
from cxrzero.cluster.plan import PlanFolder
from cxrzero.cluster.slicing import cut, write_walk
from cxrzero.sources import ImageRef

FILMS, FILMS_OF_A_FOLDER = 2_000_000, 1_000


def films(count: int) -> Iterator[ImageRef]:
    for number in range(count):
        folder, film = divmod(number, FILMS_OF_A_FOLDER)
        yield ImageRef(f"archive/p{folder % 100:02d}/p{folder:08d}/s{film // 4:08d}/{number:012x}.dcm", None, (1, 2, 3))


def plan(count: int, tasks: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = PlanFolder(Path(name) / "predictions.plan")
        before, started = _megabytes(), time.perf_counter()
        walked = write_walk(folder, films(count))
        walk_s = time.perf_counter() - started
        slices = cut(folder, walked, tasks)
        cut_s = time.perf_counter() - started - walk_s
        size = sum(file.stat().st_size for file in folder.path.iterdir())
        assert sum(entry.films for entry in slices) == count
        folder.delete()
    print(
        f"{count:>10,} films, {len(slices):,} slices: {walk_s + cut_s:5.1f} s (written down {walk_s:.1f} s, cut "
        f"{cut_s:.1f} s), {size / 1e6:,.0f} MB on disk, memory {before:.0f} MB before and {_megabytes():.0f} MB at most",
        flush=True,
    )


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("films", type=int, nargs="?", default=FILMS)
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        plan(asked.films, asked.tasks)
        return
    print({**machine(), **versions()})
    for count in (asked.films // 10, asked.films):
        command = [sys.executable, __file__, str(count), "--tasks", str(asked.tasks), "--once"]
        subprocess.run(command, check=True, env=os.environ)


if __name__ == "__main__":
    main()
