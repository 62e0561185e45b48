"""Measures how long the command takes to start: the first row of ten new films, and all of 600 that the cache has.

    python benchmarks/startup.py [--repeats 5] [--model cxrzero-mini]

New: ten phantoms of 1024 × 1024 pixels, `predict FOLDER --out -` without the cache, until the first row comes out.
Known: 600 phantoms of 256 × 256 pixels, embedded beforehand, asked for a label that was never asked, until the command
has ended. Disk cache warm; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.archive import draw_films, fill
from cxrzero.bench.machine import machine, versions

NEW, KNOWN = 10, 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="cxrzero-mini")
    args = parser.parse_args()
    print(machine(), versions())
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["CXRZERO_CACHE_DIR"] = str(work / "cache")
        fill(work / "new", draw_films(work / "drawn1024", 1024, NEW), NEW)
        fill(work / "known", draw_films(work / "drawn256", 256), KNOWN)
        command = [sys.executable, "-m", "cxrzero", "predict", "--model", args.model, "--quiet"]
        first = [first_row([*command, str(work / "new"), "--no-cache", "--out", "-"]) for _ in range(args.repeats + 1)]
        known = [*command, str(work / "known"), "--overwrite", "--out", str(work / "known.csv"), "--labels"]
        whole([*known, "edema"])
        again = [whole([*known, f"finding {number}"]) for number in range(args.repeats)]
    for what, times in ((f"first row of {NEW} films", first[1:]), (f"{KNOWN} films from the cache", again)):
        print(f"{what}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")


def first_row(command: list[str]) -> float:
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the heads
        row = process.stdout.readline()
        taken = time.perf_counter() - started
        process.stdout.read()
    assert row.count(b",") > 10, row
    return taken


def whole(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
