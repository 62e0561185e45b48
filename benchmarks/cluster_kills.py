"""Kill -9 workers, nodes and the driver of a Ray cluster at random moments, and compare with an undisturbed run.

    python benchmarks/cluster_kills.py --work /tmp/kills --out benchmarks/results/cluster_kills.json

A head and two nodes of one core each, on this machine. Runs with and without the cache take turns until there were so
many kills (fixed seed); a node that was killed is replaced, a driver is started again. Checked: each table is
byte-identical to that of a plain run. Counted, by a log that workers keep of each batch before it is embedded: films
that were embedded more than once. With the cache a kill may cost the batch that it hits, without it the task; a killed
driver costs that of both workers. Films, the plain table and finished runs stay in --work: a killed benchmark goes on.
Exits 1 where a table differs, or more was embedded twice than that.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from cxrzero.bench.machine import machine, versions
from cxrzero.phantom import draw
from tests.support.rays import RayNodes

NODES, BATCH = 2, 8
# Each is as likely as its number says.
KINDS = {"worker": 6, "node": 2, "driver": 2}
# A module that Python runs at its start: it has each worker note the pictures of a batch before they are embedded.
NOTING = """
import importlib.util, os, sys

class Noting:
    def find_spec(self, name, path, target=None):
        if name != "cxrzero.pipeline.embedder":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            plain = module.embed

            def embed(embedders, frames):
                wanted = [f"{frame.digest:x}" for frame in frames if any(each is not None for each in frame.inputs)]
                with open(os.path.join(os.environ["CXRZERO_NOTES"], str(os.getpid())), "a") as notes:
                    notes.write("".join(each + "\\n" for each in wanted))
                return plain(embedders, frames)

            module.embed = embed

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Noting())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--task", type=int, default=250, help="films of a task")
    parser.add_argument("--longest", type=float, default=8.0, help="seconds between two kills at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="JSON of the result")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    draw_films(options.work / "films", options.films)
    alone(options)
    log = options.work / "runs.jsonl"
    runs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    while sum(sum(run["kills"].values()) for run in runs) < options.kills:
        left = options.kills - sum(sum(run["kills"].values()) for run in runs)
        runs.append(trial(options, len(runs), left))
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(runs[-1]) + "\n")
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "work")}
    kills = sum((Counter(run["kills"]) for run in runs), Counter())
    report = {"machine": machine(), "versions": versions(), "settings": settings, "kills": kills, "runs": runs}
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if not all(run["identical"] and run["embedded_twice"] <= run["may_be"] for run in runs):
        sys.exit(1)


def draw_films(folder: Path, count: int) -> None:
    """Phantoms of 128 × 128 pixels, each different."""
    folder.mkdir(exist_ok=True)
    for seed in range(count):
        film = folder / f"{seed:06}.png"
        if not film.exists():
            Image.fromarray(draw(seed, (128, 128)).to_uint8()).save(film.with_suffix(".partial"), "PNG")
            film.with_suffix(".partial").rename(film)


def command(options: argparse.Namespace, out: Path, *more: str) -> list[str]:
    plain = [sys.executable, "-m", "cxrzero", "predict", str(options.work / "films"), "--out", str(out), "--quiet"]
    return [*plain, "--overwrite", "--device", "cpu", "--batch-size", str(BATCH), *more]


def alone(options: argparse.Namespace) -> None:
    """The table of a plain run."""
    if not (options.work / "alone.run.json").exists():
        subprocess.run(command(options, options.work / "alone.csv", "--no-cache"), check=True)


def trial(options: argparse.Namespace, number: int, most: int) -> dict[str, Any]:
    """One run on a new cluster, with kills until it is done or there were so many."""
    is_cached, rng = number % 2 == 0, random.Random(f"{options.seed} {number}")
    folder = options.work / f"run-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("notes", "noting"):
        (folder / name).mkdir(parents=True)
    (folder / "noting" / "sitecustomize.py").write_text(NOTING, encoding="ascii")
    environment = {
        "PYTHONPATH": f"{folder / 'noting'}:{Path.cwd()}",
        "CXRZERO_NOTES": str(folder / "notes"),
        "CXRZERO_CACHE_DIR": str(folder / "cache"),
    }
    kills: Counter[str] = Counter()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-", dir="/tmp", ignore_cleanup_errors=True) as short:
        cluster = RayNodes(Path(short), NODES, environment)
        asked = command(options, folder / "table.csv", "--engine", f"ray={cluster.address}")
        asked += ["--tasks", str(-(-options.films // options.task)), *([] if is_cached else ["--no-cache"])]
        driver = begin(asked, cluster)
        try:
            while sum(kills.values()) < most and not is_over(driver, rng.uniform(0.5, options.longest)):
                [kind] = rng.choices(list(KINDS), list(KINDS.values()))
                driver = kill(kind, driver, cluster, asked, rng)
                kills[kind] += 1
                print(f"run {number}: {dict(kills)}", file=sys.stderr)
            code = driver.wait()
        finally:
            driver.kill()
            cluster.close()
    record = json.loads((folder / "table.run.json").read_text(encoding="utf-8"))
    embedded = Counter(line for notes in (folder / "notes").iterdir() for line in notes.read_text().split())
    hits = kills["worker"] + kills["node"] + NODES * kills["driver"]
    return {
        "cache": is_cached,
        "kills": dict(kills),
        "seconds": round(time.monotonic() - started, 1),
        "exit_code": code,
        "identical": (folder / "table.csv").read_bytes() == (options.work / "alone.csv").read_bytes(),
        "films": len(embedded),
        "embedded_twice": sum(embedded.values()) - len(embedded),
        "may_be": hits * (BATCH if is_cached else options.task),
        "retries": record["engine"]["retries"],
    }


def begin(asked: list[str], cluster: RayNodes) -> subprocess.Popen[bytes]:
    return subprocess.Popen(asked, env=cluster.environment, stderr=subprocess.DEVNULL)


def is_over(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill(
    kind: str, driver: subprocess.Popen[bytes], cluster: RayNodes, asked: list[str], rng: random.Random
) -> subprocess.Popen[bytes]:
    """Kill something; the driver that goes on."""
    if kind == "worker" and cluster.workers():
        cluster.kill_worker()
    elif kind == "node":
        cluster.kill(rng.choice(list(cluster.nodes)))
        cluster.add()
    else:  # also where no worker is at work at this moment
        driver.kill()
        driver.wait()
        return begin(asked, cluster)
    return driver


if __name__ == "__main__":
    main()
