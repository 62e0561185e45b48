"""Kill -9 a training at random moments, resume it, and compare its losses with an undisturbed run's.

    python benchmarks/train_kill.py --kills 20

One run is killed again and again, each time after a random number of further steps and a random part of a second, so
that a kill may fall into a step, a validation or the writing of a checkpoint. At the end metrics.jsonl must hold the
same steps with the same losses, bit for bit, no line lost, none twice. Draws its own pictures; exits 1 at a difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TINY = ("--arch", "cxrzero-tiny", "--device", "cpu")
TIMED = ("images_per_second",)
SECONDS = 120  # for a run to reach its next line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arch", default="cxrzero-tiny")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    more = ["--arch", options.arch, "--precision", options.precision, "--device", options.device]
    with tempfile.TemporaryDirectory() as work:
        found = trial(Path(work), [signal.SIGKILL] * options.kills, options.epochs, options.seed, more=more)
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["equal"] else 1)


def trial(
    work: Path, signals: list[signal.Signals], epochs: int, seed: int, size: int = 64, more: Sequence[str] = TINY
) -> dict[str, Any]:
    """An undisturbed run, and one that gets every signal in turn.

    Args:
        more: options of the training.

    Returns:
        whether both wrote the same records, how many, and after which step each signal came.
    """
    pairs = draw_pairs(work / "films", size)
    command = [sys.executable, "-m", "cxrzero", "train", str(pairs), "--batch-size", "8", *more]
    command += ["--epochs", str(epochs), "--threads", "1", "--save-every", "3"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "--out", str(work / "whole")], check=True, **quiet)
    expected = records(work / "whole")
    losses = [record["loss"] for record in expected if "loss" in record]
    steps = len(losses)

    rng, broken, moments, exits = random.Random(seed), work / "broken", [], []
    again = [sys.executable, "-m", "cxrzero", "train", "--resume", str(broken)]
    for number, sent in enumerate(signals):
        # Spread over the run, so that each kill finds something left to do.
        target = (number + rng.random()) * steps / (len(signals) + 1)
        started = (broken / "run.json").exists()
        with (work / "stderr.txt").open("wb") as errors:
            process = subprocess.Popen(again if started else [*command, "--out", str(broken)], stderr=errors)
        wait_for(broken, target, process)
        time.sleep(rng.random() * 0.05)
        process.send_signal(sent)
        exits.append(process.wait())
        if exits[-1] != (-sent if sent == signal.SIGKILL else 130):
            # It ended by itself: then this was no kill, and the reason matters.
            raise RuntimeError(f"run {number} exited with {exits[-1]}:\n{(work / 'stderr.txt').read_text()}")
        moments.append(len(lines(broken)))
    subprocess.run(again, check=True, **quiet)
    found = records(broken)
    return {
        "equal": found == expected,
        "kills": len(signals),
        "steps": steps,
        "records": len(found),
        "killed_after_record": moments,
        "exit_codes": exits,
        "losses_first_and_last": [losses[0], losses[-1]],
    }


def draw_pairs(folder: Path, count: int) -> Path:
    """Noise with a bright spot, named by its place; a quarter is held out."""
    folder.mkdir(parents=True)
    rows = ["image,text,split"]
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 120, (40, 40), np.uint8)
        y, x = number % 4 * 10, number // 4 % 4 * 10
        pixels[y : y + 10, x : x + 10] = 255
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
        rows.append(f"{number:03}.png,spot in row {y} and column {x},{'val' if number % 4 == 3 else 'train'}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "pairs.csv"


def wait_for(run: Path, target: float, process: subprocess.Popen[bytes]) -> None:
    """Until metrics.jsonl has as many lines, or the process ended."""
    deadline = time.monotonic() + SECONDS
    while len(lines(run)) < target or not (run / "run.json").exists():
        if process.poll() is not None:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run} did not reach line {target}")
        time.sleep(0.01)


def lines(run: Path) -> list[bytes]:
    path = run / "metrics.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def records(run: Path) -> list[dict[str, Any]]:
    """What a run measured, without what depends on the clock."""
    found = [json.loads(line) for line in lines(run)]
    return [{name: value for name, value in record.items() if name not in TIMED} for record in found]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
