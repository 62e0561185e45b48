"""Archive files of a million members, and how fast films are read from them.

    python benchmarks/containers.py [--members 1000000] [--films 400]

Lists a .zip and a .tar file of so many members (empty films), each in a process of its own: seconds, and how much its
memory grew while the list was consumed. Then reads and decodes
drawn films of 1024 × 1024 pixels from a folder, a .zip and a .tar file, in one thread, in turns.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from itertools import islice
from pathlib import Path

from benchmarks.archive import draw_films, fill
from cxrzero.bench.machine import machine, versions
from cxrzero.sources import find_images
from cxrzero.sources.reader import Reader

TURNS = 3
_LIST = "from benchmarks.containers import listed; listed({!r})"


def name_of(number: int) -> str:
    return f"{number * 7919 % 100:02}/patient-{number:07}/film.png"


def write_zip(path: Path, members: int) -> None:
    """Written by hand, for zipfile takes a minute."""
    with path.open("wb") as file:
        central = []
        for number in range(members):
            name = name_of(number).encode()
            central.append(
                struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0,
                            file.tell()) + name
            )  # fmt: skip
            file.write(struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0) + name)
        start = file.tell()
        for record in central:
            file.write(record)
        end = file.tell()
        file.write(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, members, members, end - start, start))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        file.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))


def write_tar(path: Path, members: int) -> None:
    with path.open("wb") as file:
        for number in range(members):
            file.write(tarfile.TarInfo(name_of(number)).tobuf())
        file.write(bytes(1024))


def listed(path: str) -> None:
    """Print how many films, seconds and megabytes more."""
    next(find_images([__file__]), None)  # imports
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    count = sum(1 for ref in find_images([path]) if ref.error is None)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"| {Path(path).suffix or 'folder'} | {count:,} | {time.perf_counter() - started:.1f} | {grown:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--films", type=int, default=400)
    args = parser.parse_args()
    print(machine(), versions())
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_zip(work / "many.zip", args.members)
        write_tar(work / "many.tar", args.members)
        print("| | members listed | seconds | MB more |\n|---|---|---|---|", flush=True)
        for name in ("many.zip", "many.tar"):
            subprocess.run([sys.executable, "-c", _LIST.format(str(work / name))], check=True)
            (work / name).unlink()
        fill(work / "films", draw_films(work / "drawn", 1024, 8), args.films)
        paths = sorted(path for path in (work / "films").rglob("*") if path.is_file())
        with zipfile.ZipFile(work / "films.zip", "w") as packed, tarfile.open(work / "films.tar", "w") as tarred:
            for path in paths:
                packed.write(path, path.relative_to(work))
                tarred.add(path, path.relative_to(work))
        rates: dict[str, list[float]] = {}
        for _ in range(TURNS):
            for name in ("films", "films.zip", "films.tar"):
                rates.setdefault(name, []).append(rate(work / name, args.films))
        print("| | films/s, median of three |\n|---|---|")
        for name, found in rates.items():
            print(f"| {Path(name).suffix or 'folder'} | {statistics.median(found):.1f} |")


def rate(path: Path, films: int) -> float:
    reader, started, read = Reader(), time.perf_counter(), 0
    for ref in islice(find_images([str(path)]), films):
        read += sum(1 for _ in reader.decode(ref))
    return read / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
