"""What ten million films cost on 1 to 1,000 workers, how long they take, and what breaks first: a simulation.

    python -m benchmarks.cluster_simulation --out benchmarks/results/cluster_simulation.json

A small run on this machine measures a worker's start, cxrzero-mini on all of its cores, and of the driver the walk, the
merge and a task's share of its time. The other rates are those of the logs end_to_end.json and gpu.jsonl. What nobody
measured is assumed, and an option: prices, losses, slow workers, the start of a machine, the store. `cluster_queue.py`
plays the runs; of five the one of median time counts. What breaks first is what would save most of the time if it alone
cost nothing. `--measured LOG` takes what an earlier log has measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import archive
from benchmarks.cluster_queue import HOUR_S, Outcome, Run, simulate
from cxrzero.bench.machine import machine, versions
from cxrzero.cluster import run as cluster_run
from cxrzero.cluster.engine import Task
from cxrzero.cluster.inprocess import InProcess
from cxrzero.cluster.plan import PlanFolder
from cxrzero.cluster.slicing import cut, write_walk
from cxrzero.cluster.task import run_slice
from cxrzero.predict.options import PredictOptions
from cxrzero.sources import find_images

RESULTS = Path(__file__).parent / "results"
SHOWN = 0.01  # of the time, and more
OF_DRIVER = {"walk": "plan", "merge": "merge"}
WORKERS = (1, 10, 100, 1000)
SEEDS = range(5)
# What may cost time beside the work, and a run without it.
PARTS: dict[str, dict[str, Any]] = {
    "the walk": {"plan_films_s": math.inf},
    "the start of workers": {"start_s": 0.0},
    "the driver": {"task_s": 0.0},
    "slow workers": {"slow_share": 0.0},
    "lost workers": {"losses_an_hour": 0.0},
    "the merge": {"merge_films_s": math.inf},
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of worker: what its films a second and its start are, how it is called, and what it costs an hour."""

    name: str
    device: str
    films_s: float
    start_s: float
    price: float


def main() -> None:
    options = read_options()
    measured = measure(options)
    workers = list(kinds(options, measured))
    rows = [
        row(options, measured, kind, count, gbit)
        for kind in workers
        for gbit in options.store_gbit
        for count in WORKERS
    ]
    log: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "settings": {name: value for name, value in vars(options).items() if name not in ("out", "measured")},
        "measured": measured,
        "kinds": [asdict(kind) for kind in workers],
        "rows": rows,
    }
    print(rates(log), table(log), sep="\n\n")
    if options.out:
        options.out.write_text(json.dumps(log, indent=2) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the log")
    parser.add_argument("--measured", type=Path, help="an earlier log, of which the measured figures are taken")
    parser.add_argument("--films", type=int, default=10_000_000)
    parser.add_argument("--small", type=int, default=2000, help="films of the small run")
    assumed = parser.add_argument_group("assumed")
    assumed.add_argument("--core-price", type=float, default=0.05, help="of a core, for an hour")
    assumed.add_argument("--gpu-price", type=float, default=5.0, help="of a machine with a GPU and 16 cores, an hour")
    assumed.add_argument("--request-price", type=float, default=0.0004, help="of 1,000 requests to an object store")
    assumed.add_argument("--machine-s", type=float, default=60.0, help="until a machine is there")
    assumed.add_argument("--losses", type=float, default=0.05, help="of a worker, in an hour")
    assumed.add_argument("--slow", type=float, default=0.02, help="share of workers that are slow")
    assumed.add_argument("--slow-times", type=float, default=3.0, help="slower")
    assumed.add_argument("--store-gbit", type=float, nargs="+", default=[10.0, 100.0], help="a second, to all workers")
    assumed.add_argument("--film-mb", type=float, help="of a film in the store; by default that of the drawn ones")
    assumed.add_argument("--store-requests", type=float, default=5500.0, help="a second; one for each film")
    return parser.parse_args()


def kinds(options: argparse.Namespace, measured: dict[str, float]) -> Iterator[Kind]:
    """Workers, with rates that were measured."""
    log = json.loads((RESULTS / "end_to_end.json").read_text(encoding="utf-8"))
    rates = {row["name"]: row["images_per_second"] for row in log["rows"]}
    two_cores = 2 * options.core_price
    start_s = options.machine_s + measured["start_s"]
    mini = measured["films_s"] * 2 / measured["cores"]
    yield Kind("2 cores, cxrzero-mini", "cpu", mini, start_s, two_cores)
    yield Kind("2 cores, ViT-B/32", "cpu", rates["cxrzero onnxruntime fp32"], start_s, two_cores)
    lines = (json.loads(line) for line in (RESULTS / "gpu.jsonl").read_text(encoding="utf-8").splitlines())
    gpu = next(line for line in lines if line.get("row") == "whole png vit-b-32 fp32")
    start_s = options.machine_s + gpu["start_seconds"]
    yield Kind("H200 and 16 cores, ViT-B/32", "cuda", gpu["images_per_second"], start_s, options.gpu_price)


def row(
    options: argparse.Namespace, measured: dict[str, float], kind: Kind, workers: int, gbit: float
) -> dict[str, Any]:
    """A row of the table: so many workers of a kind at a store."""
    films = options.films
    tasks = cluster_run.tasks_for(films, workers, kind.device)
    film_bytes = options.film_mb * 1e6 if options.film_mb else measured["film_bytes"]
    network = gbit * 1e9 / 8 / film_bytes
    run = Run(
        films=films,
        slice_films=math.ceil(films / tasks),
        workers=workers,
        films_s=kind.films_s,
        start_s=kind.start_s,
        plan_films_s=measured["plan_films_s"],
        merge_films_s=measured["merge_films_s"],
        task_s=measured["task_s"],
        store_films_s=min(network, options.store_requests),
        slow_share=options.slow,
        slow_times=options.slow_times,
        losses_an_hour=options.losses,
    )
    outcome = median(run)
    parts = PARTS | {"the network": {"store_films_s": options.store_requests}, "requests": {"store_films_s": network}}
    saved = {name: outcome.wall_s - median(replace(run, **without)).wall_s for name, without in parts.items()}
    first = max(saved, key=lambda name: saved[name])
    ideal_s = films / kind.films_s / workers
    machines = (outcome.worker_s * kind.price + outcome.wall_s * 2 * options.core_price) / HOUR_S
    return {
        "kind": kind.name,
        "store_gbit": gbit,
        "workers": workers,
        "tasks": tasks,
        "wall_hours": outcome.wall_s / HOUR_S,
        "share_of_ideal": ideal_s / outcome.wall_s,
        "worker_hours": outcome.worker_s / HOUR_S,
        "cost": machines + outcome.films_read / 1000 * options.request_price,
        "tries": outcome.tries,
        "lost": outcome.lost,
        "films_read": outcome.films_read,
        "breaks_first": first,
        "saved_without_it": saved[first] / outcome.wall_s,
        "saved_share": {name: seconds / outcome.wall_s for name, seconds in saved.items()},
    }


def median(run: Run) -> Outcome:
    """Of several plays the one of median time."""
    return sorted((simulate(run, seed) for seed in SEEDS), key=lambda outcome: outcome.wall_s)[len(SEEDS) // 2]


def rates(log: dict[str, Any]) -> str:
    """As the document has it: films a second of each kind of worker and of the driver."""
    of = {kind["name"]: f"{kind['films_s']:,.1f}" for kind in log["kinds"]}
    of |= {f"the driver's {name}": f"{log['measured'][f'{key}_films_s']:,.0f}" for name, key in OF_DRIVER.items()}
    return "\n".join(["| | films/s |", "|---|---|", *(f"| {name} | {films_s} |" for name, films_s in of.items())])


def table(log: dict[str, Any]) -> str:
    """As the document has it: for each kind and number of workers hours, cost and what breaks first, at each store."""
    rows = log["rows"]
    stores = list(dict.fromkeys(each["store_gbit"] for each in rows))
    heads = [f"hours at {gbit:.0f} Gbit/s | cost | breaks first" for gbit in stores]
    lines = ["| worker | workers | " + " | ".join(heads) + " |", "|---" * (2 + 3 * len(stores)) + "|"]
    for kind, workers in dict.fromkeys((each["kind"], each["workers"]) for each in rows):
        cells = [
            f"{each['wall_hours']:,.2f} | {each['cost']:,.0f} | {what_breaks(each)}"
            for each in rows
            if (each["kind"], each["workers"]) == (kind, workers)
        ]
        lines.append(f"| {kind} | {workers:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def what_breaks(row: dict[str, Any]) -> str:
    share = row["saved_without_it"]
    return f"{row['breaks_first']} ({share:.0%})" if share >= SHOWN else "nothing"


def measure(options: argparse.Namespace) -> dict[str, float]:
    """What is measured here, in films a second, seconds and bytes."""
    if options.measured:
        return dict(json.loads(options.measured.read_text(encoding="utf-8"))["measured"])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["CXRZERO_CACHE_DIR"] = str(work / "cache")
        large = archive.draw_films(work / "large", 1024, 20)
        measured = {"cores": float(len(os.sched_getaffinity(0)))}
        measured["film_bytes"] = sum(film.stat().st_size for film in large) / len(large)
        measured |= measure_worker(work, large, options.small // 5)
        small = archive.draw_films(work / "small", 64, 100)
        archive.fill(work / "films", small, 10 * options.small)
        measured |= measure_walk(work, 10 * options.small)
        archive.fill(work / "some", small, options.small)
        return measured | measure_driver(work, options.small)


def measure_worker(work: Path, films: list[Path], count: int) -> dict[str, float]:
    """A process from its start to one film's row; and films a second from there."""
    model = ["cxrzero-mini", "--no-cache", "--overwrite"]
    archive.fill(work / "one", films, 1)
    archive.fill(work / "many", films, count)
    start_s = min(archive.predict(work / "one", work, model)[0] for _ in range(3))
    return {"start_s": start_s, "films_s": (count - 1) / (archive.predict(work / "many", work, model)[0] - start_s)}


def measure_walk(work: Path, count: int) -> dict[str, float]:
    """A walk of files that the system has in memory, as a plan."""
    folder = PlanFolder(work / "walk.plan")
    started = time.perf_counter()
    walked = write_walk(folder, find_images([str(work / "films")]))
    cut(folder, walked, 100)
    seconds = time.perf_counter() - started
    folder.delete()
    return {"plan_films_s": count / seconds}


def measure_driver(work: Path, count: int) -> dict[str, float]:
    """A run of small films on an engine without processes: the join, and what is left of the driver's time by tasks."""
    tasks, carried, joined = 20, 0.0, 0.0
    own_join = cluster_run.join

    def carry(task: Task, results: Path, notify: Any) -> None:
        nonlocal carried
        started = time.perf_counter()
        run_slice(task, results, notify)
        carried += time.perf_counter() - started

    def join(*given: Any, **named: Any) -> Any:
        nonlocal joined
        started = time.perf_counter()
        outcome = own_join(*given, **named)
        joined += time.perf_counter() - started
        return outcome

    out = work / "some.csv"
    plan = cluster_run.prepare(
        PredictOptions((str(work / "some"),), out=str(out), engine="local", tasks=tasks, cache=False)
    )
    cluster_run.join = join
    started = time.perf_counter()
    try:
        cluster_run.run(plan, open_engine=lambda spec, asked, folder: InProcess(folder / "results", carry=carry))
    finally:
        cluster_run.join = own_join
    wall = time.perf_counter() - started
    return {"merge_films_s": count / joined, "task_s": max(0.0, wall - carried - joined) / tasks}


if __name__ == "__main__":
    main()
