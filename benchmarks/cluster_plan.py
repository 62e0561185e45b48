"""How long it takes to plan a run of many films, and how much memory the driver then holds.

    python benchmarks/cluster_plan.py [FILMS] [--tasks N] [--out LOG.json]

Paths are generated and not read: 2,000,000 in folders of 1,000, as of an archive by patients. The plan is made as
`predict --engine` makes it (`cxrzero.cluster.slicing`), in a process of its own, whose memory at its highest is what
the system says (`ru_maxrss`). The first line is of a tenth as many films: memory does not grow with them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxrzero.bench.machine import machine, versions
from cxrzero.cluster.plan import PlanFolder
from cxrzero.cluster.slicing import cut, write_walk
from cxrzero.files import write_json
from cxrzero.sources import ImageRef

FILMS, FILMS_OF_A_FOLDER, TASKS = 2_000_000, 1_000, 400


def films(count: int) -> Iterator[ImageRef]:
    for number in range(count):
        folder = number // FILMS_OF_A_FOLDER
        yield ImageRef(
            f"archive/p{folder % 100:02d}/p{folder:08d}/s{number // 4:08d}/{number:012x}.dcm", None, (1, 2, 3)
        )


def plan(count: int, tasks: int) -> dict[str, Any]:
    """Make a plan; seconds, and MB on disk and in memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = PlanFolder(Path(name) / "predictions.plan")
        before, busy, started = _megabytes(), time.process_time(), time.perf_counter()
        walked = write_walk(folder, films(count))
        written = time.perf_counter()
        slices = cut(folder, walked, tasks)
        ended = time.perf_counter()
        size = sum(file.stat().st_size for file in folder.path.iterdir())
        folder.delete()
    assert sum(entry.films for entry in slices) == count
    return {
        "films": count,
        "slices": len(slices),
        "seconds": round(ended - started, 1),
        "written_s": round(written - started, 1),
        "cut_s": round(ended - written, 1),
        "processor_s": round(time.process_time() - busy, 1),
        "on_disk_mb": round(size / 1e6),
        "memory_before_mb": round(before),
        "memory_at_most_mb": round(_megabytes()),
    }


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("films", type=int, nargs="?", default=FILMS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(plan(asked.films, asked.tasks)))
        return
    log: dict[str, Any] = {"machine": {**machine(), **versions()}, "plans": []}
    for count in (asked.films // 10, asked.films):
        command = [sys.executable, __file__, str(count), "--tasks", str(asked.tasks), "--once"]
        made = json.loads(subprocess.run(command, check=True, env=os.environ, stdout=subprocess.PIPE, text=True).stdout)
        print(made, flush=True)
        log["plans"].append(made)
    if asked.out:
        write_json(asked.out, log)


if __name__ == "__main__":
    main()
