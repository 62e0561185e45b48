"""Films to scores with a full-size ViT-B/32, two cores: cxrzero beside the reference and beside users' alternatives.

    python benchmarks/end_to_end.py [--films 300] [--round 60] [--work FOLDER]

The checkpoint has CheXzero's layout and random weights; the films are phantoms, 8-bit PNG of 1024 × 1024 pixels. Each
contestant (benchmarks/contestants.py) lives in a process of its own, with its model loaded and its texts encoded before
the clock starts. They take turns, a round of films each, so that whatever else the machine does slows all. Two cores:
on a larger machine, run it under `taskset -c 0,1`.

"Core ms" is processor time for one film. The bound is cores / (core seconds of decoding, preprocessing and encoding
alone); with other work on the machine its share says little, and "of the processor" is what a contestant got.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.contestants import CHECKPOINT, CONTESTANTS
from cxrzero.bench.machine import machine, versions
from cxrzero.stats.metrics import rank_correlation

LABEL = "pleural effusion"
SEED = 0


@dataclass
class Runner:
    """A contestant's process and what it did."""

    name: str
    connection: Connection
    process: multiprocessing.process.BaseProcess
    walls: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--round", type=int, default=60, help="films of one turn")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--work", type=Path, help="keeps films and model for the next time")
    parser.add_argument("--only", help="names of contestants, separated by commas")
    parser.add_argument("--no-stages", action="store_true", help="leave out the bound, whose measurement takes minutes")
    parser.add_argument("--out", type=Path, help="JSON of the result")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        films = draw_films(work / f"films{args.side}", args.films, args.side)
        make_model(work)
        names = args.only.split(",") if args.only else list(CONTESTANTS)
        runners = [start(name, work, films[:4]) for name in names]
        rounds = [films[at : at + args.round] for at in range(0, len(films), args.round)]
        for number, some in enumerate(rounds, start=1):
            for runner in runners:
                take_turn(runner, some)
            print(f"round {number} of {len(rounds)}", file=sys.stderr)
        for runner in runners:
            runner.connection.send(None)
            runner.process.join()
        stages = {} if args.no_stages else measure_stages(work, films)
    report = summarise(runners, args, stages)
    print(table(report))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def draw_films(folder: Path, count: int, side: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:04}.png" for seed in range(count)]
    missing = [seed for seed, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(draw_film, folder, side), missing))
    return [str(path) for path in paths]


def draw_film(folder: Path, side: int, seed: int) -> None:
    from PIL import Image

    from cxrzero.phantom import draw

    Image.fromarray(draw(seed, side).to_uint8()).save(folder / f"{seed:04}.png")


def make_model(
    work: Path, arch: str = "ViT-B-32-quickgelu", variants: Sequence[str] = ("bf16",), seed: int = SEED
) -> None:
    """A random checkpoint in CheXzero's layout, and the bundle that it is imported to, with these precisions."""
    if (work / "bundle").exists():
        return
    import open_clip
    import torch

    from cxrzero.convert import import_model
    from cxrzero.convert.variants import add_variants

    torch.manual_seed(seed)
    model = open_clip.model.CLIP(**open_clip.get_model_config(arch)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "embedding" not in name:
                weight.mul_(1.5)  # the activations of fresh weights are too near zero to tell films apart
    torch.save(model.state_dict(), work / CHECKPOINT)
    import_model(work / CHECKPOINT, work / "bundle", card="chexzero", arch=arch)
    add_variants(work / "bundle", variants)


def start(name: str, work: Path, warm_up: list[str]) -> Runner:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(name, work, theirs))
    process.start()
    theirs.close()  # so that a process that dies ends the wait for it
    runner = Runner(name, ours, process)
    ours.send(warm_up)
    ours.recv()
    return runner


def serve(name: str, work: Path, connection: Connection) -> None:
    """Score what comes, tell how long it took."""
    score = CONTESTANTS[name](work, LABEL)
    while paths := connection.recv():
        started, busy = time.perf_counter(), processor_seconds()
        d = score(paths)
        wall, busy = time.perf_counter() - started, processor_seconds() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        connection.send((d.tolist(), wall, busy, peak))


def processor_seconds() -> float:
    """Of this process and of the ones that it started and that are over."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def take_turn(runner: Runner, paths: list[str]) -> None:
    runner.connection.send(paths)
    d, wall, busy, runner.peak_mb = runner.connection.recv()
    runner.d += d
    runner.walls.append(wall)
    runner.busy.append(busy)


def measure_stages(work: Path, films: list[str]) -> dict[str, float]:
    """Core milliseconds of each stage alone, by `cxrzero bench`'s own functions."""
    from cxrzero.bench.films import open_films
    from cxrzero.bench.stages import decode_rate, encode_rates, preprocess_rate
    from cxrzero.images.radiograph import DecodeOptions
    from cxrzero.model.bundle import load_bundle
    from cxrzero.model.preprocess import Preprocess

    bundle = load_bundle(work / "bundle")
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    some = open_films(films, 32, DecodeOptions())
    stages = {
        "decode": decode_rate(some, DecodeOptions(), 1, 5.0).core_ms,
        "preprocess": preprocess_rate(some, preprocess, 5.0).core_ms,
    }
    for each in encode_rates(bundle, some, preprocess, "cpu", 8.0)[0]:
        stages[f"{each.backend} {each.precision}"] = each.rate.core_ms
    return stages


def summarise(runners: list[Runner], args: argparse.Namespace, stages: dict[str, float]) -> dict[str, object]:
    baseline = runners[0]
    exact = next((each for each in runners if each.name == "cxrzero onnxruntime fp32"), baseline)
    cores = len(os.sched_getaffinity(0))
    rows = []
    for runner in runners:
        engine = runner.name.removeprefix("cxrzero ")
        stage = stages["decode"] + stages["preprocess"] + stages[engine] if engine in stages else None
        busy = sum(runner.busy) / args.films * 1000
        rate = args.films / sum(runner.walls)
        rows.append(
            {
                "name": runner.name,
                "images_per_second": rate,
                # turn by turn, so that a disturbance counts once
                "times_baseline": statistics.median(b / w for b, w in zip(baseline.walls, runner.walls, strict=True)),
                "core_ms": busy,
                "of_the_processor": sum(runner.busy) / sum(runner.walls) / cores,
                "share_of_bound": rate / (1000 * cores / stage) if stage else None,
                "stages_of_core_ms": stage / busy if stage else None,
                "peak_mb": runner.peak_mb,
                **deviation(np.array(runner.d), np.array(exact.d)),
            }
        )
    settings = {"films": args.films, "side": args.side, "round": args.round, "label": LABEL}
    return {"machine": machine(), "versions": versions(), "settings": settings, "stages_core_ms": stages, "rows": rows}


def deviation(d: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    return {
        "max_abs_d_over_sd": float(np.abs(d - exact).max() / exact.std()),
        "spearman": rank_correlation(d, exact),
    }


def table(report: dict) -> str:
    lines = [json.dumps(report["machine"]), json.dumps(report["versions"]), json.dumps(report["stages_core_ms"]), ""]
    heads = ("", "images/s", "× reference", "core ms", "of the processor", "of the bound", "stages / core ms")
    lines.append(f"| {' | '.join((*heads, 'max Δd / sd', 'ρ', 'peak MB'))} |")
    lines.append("|---" * 10 + "|")
    for row in report["rows"]:
        share, stages = (
            "" if row[key] is None else f"{row[key]:.0%}" for key in ("share_of_bound", "stages_of_core_ms")
        )
        lines.append(
            f"| {row['name']} | {row['images_per_second']:.2f} | {row['times_baseline']:.2f} | {row['core_ms']:.0f} | "
            f"{row['of_the_processor']:.0%} | {share} | {stages} | {row['max_abs_d_over_sd']:.4f} | "
            f"{row['spearman']:.4f} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
