"""What Ray costs at steady state: two workers under `--engine ray` beside two plain `--shard` processes.

    python benchmarks/cluster_overhead.py --work /tmp/overhead --out benchmarks/results/cluster_overhead.json

Films per second from the first film to the last, in pairs of legs that follow each other, in turn one and the other
first; the median of the pairs' quotients counts. Each process of both kinds has one core. The cluster, a head and two
nodes on this machine without a dashboard, is up before its leg and gone after it. The driver's processor time is that
of its process and of the gateway. A list names drawn films again and again, so that a leg takes --seconds. Pairs that
are done stay in --work: a killed benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from cxrzero.bench.machine import machine, versions
from cxrzero.cluster import run as job
from cxrzero.cluster.driver import Standing
from cxrzero.phantom import draw
from cxrzero.predict.options import PredictOptions
from tests.support.rays import RayNodes

DRAWN, SIDE, CORES = 60, 1024, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=330.0, help="of each leg, about")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="JSON of the result")
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    draw_films(work / "films")
    log, size = work / "pairs.jsonl", work / "films.txt"
    if not size.exists():
        rate = shards(work, listed(work, 5 * DRAWN))["films_per_second"]
        size.write_text(str(int(rate * options.seconds)), encoding="ascii")
    films = int(size.read_text(encoding="ascii"))
    pairs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    legs: list[Callable[[Path, Path], dict[str, Any]]] = [shards, ray]
    while len(pairs) < options.pairs:
        order = legs if len(pairs) % 2 == 0 else legs[::-1]
        pairs.append({leg.__name__: leg(work, listed(work, films)) for leg in order})
        pairs[-1]["quotient"] = pairs[-1]["ray"]["films_per_second"] / pairs[-1]["shards"]["films_per_second"]
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(pairs[-1]) + "\n")
        print(pairs[-1], file=sys.stderr)
    report = {
        "machine": machine(),
        "versions": versions(),
        "films": films,
        "pairs": pairs,
        "median_quotient": statistics.median(pair["quotient"] for pair in pairs),
    }
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def draw_films(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for seed in range(DRAWN):
        film = folder / f"{seed:03}.png"
        if not film.exists():
            Image.fromarray(draw(seed, (SIDE, SIDE)).to_uint8()).save(film.with_suffix(".partial"), "PNG")
            film.with_suffix(".partial").rename(film)


def listed(work: Path, films: int) -> Path:
    """A list of so many, by names that all differ, as hashes of names part them into shards."""
    path = work / f"list-{films}.txt"
    names = (f"{work / 'films'}/{'./' * (at // DRAWN)}{at % DRAWN:03}.png" for at in range(films))
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def shards(work: Path, films: Path) -> dict[str, Any]:
    """Plain processes, one on each core."""
    started = time.monotonic()
    processes = []
    for index in range(CORES):
        command = [
            sys.executable,
            "-m",
            "cxrzero",
            "predict",
            f"@{films}",
            "--shard",
            f"{index + 1}/{CORES}",
            "--quiet",
        ]
        command += ["--out", str(work / f"shard-{index}.csv"), "--overwrite", "--no-cache", "--device", "cpu"]
        processes.append(subprocess.Popen(command, preexec_fn=lambda core=index: os.sched_setaffinity(0, {core})))
    assert [process.wait() for process in processes] == [0] * CORES
    records = [json.loads((work / f"shard-{index}.run.json").read_text()) for index in range(CORES)]
    seconds = max(record["seconds"]["wall"] for record in records)
    rows = sum(record["counts"]["ok"] for record in records)
    return {"films_per_second": rows / seconds, "seconds": seconds, "in_all": time.monotonic() - started}


def ray(work: Path, films: Path) -> dict[str, Any]:
    """Tasks on a cluster of as many nodes, which is up already."""
    seen: list[tuple[float, int]] = []

    def look(standing: Standing) -> None:
        if standing.done and (not seen or standing.done > seen[-1][1]):
            seen.append((time.monotonic(), standing.done))

    with tempfile.TemporaryDirectory(prefix="over-", dir="/tmp", ignore_cleanup_errors=True) as short:
        cluster = RayNodes(Path(short), CORES)
        os.environ.update(cluster.environment)
        try:
            engine = f"ray={cluster.address}"
            options = PredictOptions(
                (f"@{films}",), out=str(work / "ray.csv"), overwrite=True, cache=False, device="cpu", engine=engine
            )
            plan = job.prepare(options)
            started, cpu = time.monotonic(), processor_seconds()
            job.run(plan, on_news=look)
            in_all, cpu = time.monotonic() - started, processor_seconds() - cpu
        finally:
            cluster.close()
    (first, before), (last, done) = seen[0], seen[-1]
    rate = (done - before) / (last - first)
    return {"films_per_second": rate, "seconds": last - first, "in_all": in_all, "driver_cpu_seconds": cpu}


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
