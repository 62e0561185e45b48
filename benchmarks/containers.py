"""Archive files of a million members, and how fast films are read from them.

    python benchmarks/containers.py [--members 1000000] [--films 400] [--log benchmarks/results/containers.json]

Lists a .zip and a .tar file of so many members (empty films), each in a process of its own: seconds of the processor,
and how much its memory grew while the list was consumed. Then lists and decodes drawn films of 1024 × 1024 pixels of a
folder, a .zip and a .tar file, in one thread, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

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
    """Print how many films, seconds of the processor and megabytes more, as JSON."""
    next(find_images([__file__]), None)  # imports
    before, started = peak_mb(), time.process_time()
    count = sum(1 for ref in find_images([path]) if ref.error is None)
    found = {"listed": count, "cpu_s": round(time.process_time() - started, 1), "mb_more": round(peak_mb() - before)}
    print(json.dumps(found))


def peak_mb() -> float:
    """Of this process alone; `getrusage` also knows of the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--log", type=Path, help="write what was measured to this file")
    args = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "versions": versions()}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, write in (("zip", write_zip), ("tar", write_tar)):
            path = work / f"many.{name}"
            write(path, args.members)
            command = [sys.executable, "-c", _LIST.format(str(path))]
            found[f"listing_{name}"] = json.loads(subprocess.check_output(command))
            path.unlink()
        found["cpu_ms_a_film"] = reading(work, args.films)
    print(text := json.dumps(found, indent=2))
    if args.log:
        args.log.write_text(text + "\n", encoding="utf-8")


def reading(work: Path, films: int) -> dict[str, float]:
    """Milliseconds of the processor that each film takes, listed and decoded; the median of TURNS."""
    fill(work / "films", draw_films(work / "drawn", 1024, 8), films)
    paths = sorted(path for path in (work / "films").rglob("*") if path.is_file())
    with zipfile.ZipFile(work / "films.zip", "w") as packed, tarfile.open(work / "films.tar", "w") as tarred:
        tarred.dereference = True  # the films are hard links
        for path in paths:
            packed.write(path, path.relative_to(work))
            tarred.add(path, path.relative_to(work))
            tarred.inodes.clear()
    spent: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for name in ("films", "films.zip", "films.tar"):
            reader, started = Reader(), time.process_time()
            read = sum(1 for ref in find_images([str(work / name)]) for _ in reader.decode(ref))
            assert read == films
            spent.setdefault(Path(name).suffix or "folder", []).append(time.process_time() - started)
    return {name: round(1000 * statistics.median(each) / films, 2) for name, each in spent.items()}


if __name__ == "__main__":
    main()
