"""Trainings on a GPU: films a second and memory, and whether they do what they do on a processor, and do it again.

    python benchmarks/train_gpu.py --out train_gpu.jsonl [--only REGEX] [--start runs/mini/start] [--rehearse]

Draws its own phantoms and says of them what the recipe of cxrzero-mini says. A row is written as soon as it is known:

    speed   the loop of `cxrzero train` after its first steps, beside forward and backward alone on fixed tensors of the
            same shapes ("pure"), and the memory of the GPU's tensors; "free" rows leave torch's own settings
            (TensorFloat-32 in convolutions, sums in any order)
    agree   the same run, not augmented, on the GPU and on the processor: how far apart the losses are
    again   the same run twice on the GPU: whether every loss and gradient norm is the same number
    learn   a whole run with a bundle at its end: what the held-out films say, on either device

`student` is the step of `make model` with the trunk and texts of --start, which is left out without it. --rehearse does
all of it on the processor with tiny sizes, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cxrzero.train.loop
from benchmarks.gpu.device import card
from benchmarks.train_speed import Enough, gradient, texts
from cxrzero.bench.machine import machine, versions
from cxrzero.clip.architecture import build_model, load_arch
from cxrzero.train import Progress, TrainOptions, train
from cxrzero.train.measure import metricslog
from recipes import mini_phantoms

WARM = 8  # steps that are not timed
STUDENT: dict[str, Any] = {
    "batch_size": 64, "texts_per_image": 4, "layer_decay": 0.85, "loss": "sigmoid", "mixup": 0.4, "lr": 0.0003,
    "freeze": "text",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One training, or two.

    Attributes:
        kind: see the module.
        given: options of the training.
        free: with torch's own settings.
        device: where it runs instead of the GPU.
    """

    kind: str
    name: str
    given: dict[str, Any] = field(default_factory=dict)
    free: bool = False
    device: str | None = None

    @property
    def title(self) -> str:
        words = (self.kind, self.name, self.given.get("precision", "fp32"), self.device or "")
        size = [str(self.given["batch_size"])] if "batch_size" in self.given else []
        return " ".join([*filter(None, words), *size, *(["free"] if self.free else [])])


def rows() -> Iterator[Row]:
    mini, vit = {"arch": "cxrzero-mini"}, {"arch": "ViT-B-32-quickgelu"}
    bf16 = {"precision": "bf16"}
    yield Row("again", "cxrzero-mini", mini | {"batch_size": 64})
    yield Row("again", "cxrzero-mini", mini | bf16 | {"batch_size": 64})
    yield Row("again", "cxrzero-mini", mini | {"batch_size": 64}, free=True)
    yield Row("again", "ViT-B/32", vit | {"batch_size": 64})
    yield Row("again", "ViT-B/32", vit | bf16 | {"batch_size": 64})
    yield Row("again", "ViT-B/32", vit | {"batch_size": 64}, free=True)
    yield Row("again", "RN50", {"arch": "RN50-quickgelu", "batch_size": 32})
    student = STUDENT | {"first_size": 160, "first_share": 0.9}
    for given in (student, student | bf16, STUDENT, STUDENT | bf16):
        yield Row("speed", f"student {given.get('first_size', 224)}", given)
    for batch in (64, 512):
        for precision in ({}, bf16):
            yield Row("speed", "cxrzero-mini", mini | precision | {"batch_size": batch})
    yield Row("speed", "cxrzero-mini", mini | {"batch_size": 512}, free=True)
    yield Row("speed", "cxrzero-mini", mini | bf16 | {"batch_size": 512}, free=True)
    for batch in (64, 512):
        for precision in ({}, bf16):
            yield Row("speed", "ViT-B/32", vit | precision | {"batch_size": batch})
    yield Row("speed", "ViT-B/32", vit | bf16 | {"batch_size": 512}, free=True)
    yield Row("agree", "cxrzero-mini", mini | {"batch_size": 64})
    yield Row("agree", "ViT-B/32", vit | {"batch_size": 64})
    yield Row("learn", "cxrzero-mini", mini | {"batch_size": 64})
    yield Row("learn", "cxrzero-mini", mini | bf16 | {"batch_size": 64})
    yield Row("learn", "cxrzero-mini", mini | {"batch_size": 64}, device="cpu")
    yield Row("speed", "student 224", STUDENT, device="cpu")
    yield Row("speed", "ViT-B/32", vit | {"batch_size": 64}, device="cpu")


def rehearsal() -> Iterator[Row]:
    tiny: dict[str, Any] = {"arch": "cxrzero-tiny", "batch_size": 8}
    for kind in ("again", "speed", "agree", "learn"):
        yield Row(kind, "cxrzero-tiny", tiny)
    yield Row("speed", "cxrzero-tiny", tiny | {"precision": "bf16"}, free=True)
    yield Row("speed", "student 224", STUDENT | {"batch_size": 4})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="a regular expression of rows")
    parser.add_argument("--start", type=Path, help="start of cxrzero-mini, see recipes/mini_start.py")
    parser.add_argument("--films", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a speed, after its first steps")
    parser.add_argument("--epochs", type=int, default=6, help="of learning")
    parser.add_argument("--steps", type=int, default=24, help="that are compared")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    device = "cpu" if options.rehearse else "cuda"
    with tempfile.TemporaryDirectory() as work, options.out.open("a", encoding="utf-8") as out:

        def tell(entry: dict[str, Any]) -> None:
            print(json.dumps(entry), flush=True)
            out.write(json.dumps(entry) + "\n")
            out.flush()

        gpu = card(device)
        tell({"machine": machine(), "versions": versions(), "gpu": gpu and gpu.name, "driver": gpu and gpu.driver})
        bench = Bench(options, device, Path(work))
        for row in rehearsal() if options.rehearse else rows():
            if re.search(options.only, row.title) and (options.start or not row.name.startswith("student")):
                try:
                    tell({"row": row.title} | bench.measured(row))
                except Exception as error:  # told, and the others are measured
                    tell({"missing": row.title, "why": f"{type(error).__name__}: {error}"[:600]})


class Bench:
    """Trainings on drawn films, in one process."""

    def __init__(self, options: argparse.Namespace, device: str, work: Path) -> None:
        self._options, self._device, self._work = options, device, work
        self._pairs = draw_pairs(work / "films", options.films)
        self._count = 0

    def measured(self, row: Row) -> dict[str, Any]:
        measure: Callable[[Row], dict[str, Any]] = getattr(self, f"_{row.kind}")
        given = row.given | ({"init": self._options.start} if row.name.startswith("student") else {})
        row = replace(row, given={"device": row.device or self._device} | given)
        with free() if row.free else contextlib.nullcontext():
            return measure(row)

    def _speed(self, row: Row) -> dict[str, Any]:
        is_gpu = row.given["device"] == "cuda"
        if is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        steps, busy = self._timed(row.given)
        batch = row.given["batch_size"]
        found = {"seconds_a_step": statistics.median(steps), "steps": len(steps)}
        found["images_per_second"] = batch * len(steps) / sum(steps)
        found["core_ms"] = 1000 * busy / len(steps) / batch
        if is_gpu:
            found["tensors_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
        if "init" not in row.given:
            found["pure"] = batch / self._pure(row.given, is_gpu)
            found["share_of_pure"] = found["images_per_second"] / found["pure"]
        return found

    def _timed(self, given: dict[str, Any]) -> tuple[list[float], float]:
        """Seconds of each step after the first ones, and the processor's in all of these."""
        moments: list[float] = []
        busy: list[float] = []

        def note(progress: Progress) -> None:
            if progress.stage == "step":
                moments.append(time.perf_counter())
                busy.append(time.process_time())
                if len(moments) > WARM + 3 and moments[-1] - moments[WARM] > self._options.seconds:
                    raise Enough

        with contextlib.suppress(Enough):
            train(self._run(given, epochs=1000, val_every=10**6), note)
        return np.diff(moments[WARM:]).tolist(), busy[-1] - busy[WARM]

    def _pure(self, given: dict[str, Any], is_gpu: bool) -> float:
        """Seconds of forward and backward on fixed tensors, the median."""
        arch = load_arch(given["arch"])
        device, side = torch.device(given["device"]), arch["vision_cfg"]["image_size"]
        model = build_model(arch).to(device, memory_format=torch.channels_last).train()
        images = torch.randn(given["batch_size"], 3, side, side).to(device, memory_format=torch.channels_last)
        ids = texts(arch, given["batch_size"]).to(device)
        seconds = []
        with cxrzero.train.loop.repeatable(device):
            while len(seconds) < WARM + 3 or sum(seconds[WARM:]) < self._options.seconds / 2:
                started = time.perf_counter()
                gradient(model, images, ids, given.get("precision") == "bf16")
                if is_gpu:
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[WARM:])

    def _agree(self, row: Row) -> dict[str, Any]:
        pair = [self._losses(row.given | {"device": device, "augment": False}) for device in (self._device, "cpu")]
        gpu, cpu = (np.array([loss for loss, _ in each]) for each in pair)
        apart = np.abs(gpu - cpu)
        return {
            "steps": len(apart),
            "first": apart[0],
            "largest": apart.max(),
            "last_losses": [gpu[-1], cpu[-1]],
            "losses": [gpu.round(6).tolist(), cpu.round(6).tolist()],
        }

    def _again(self, row: Row) -> dict[str, Any]:
        first, second = (self._losses(row.given) for _ in range(2))
        apart = [abs(a - b) for (a, _), (b, _) in zip(first, second, strict=True)]
        return {"steps": len(apart), "is_equal": first == second, "largest": max(apart)}

    def _losses(self, given: dict[str, Any]) -> list[tuple[float, float]]:
        """Loss and gradient norm of the first steps."""

        def stop(progress: Progress) -> None:
            if progress.stage == "step" and progress.done >= self._options.steps:
                raise Enough

        run = self._run(given, epochs=1000, val_every=10**6)
        with contextlib.suppress(Enough):
            train(run, stop)
        records = [record for record in metricslog.read(run.out) if "loss" in record]
        return [(record["loss"], record["gradient_norm"]) for record in records]

    def _learn(self, row: Row) -> dict[str, Any]:
        notes: list[str] = []
        started = time.perf_counter()
        run = train(
            self._run(row.given, epochs=self._options.epochs),
            lambda progress: notes.append(progress.message) if progress.stage == "note" else None,
        )
        seconds = time.perf_counter() - started
        found = [record["validation"] for record in metricslog.read(run) if "validation" in record]
        losses = [record["loss"] for record in metricslog.read(run) if "loss" in record]
        return {
            "seconds": seconds,
            "steps": len(losses),
            "losses_first_and_last": [losses[0], statistics.mean(losses[-5:])],
            "statement_auroc": [each.get("statement_auroc") for each in found],
            "retrieval": found[-1]["retrieval"],
            "card": json.loads((run / "run.json").read_text("utf-8")).get("gpu"),
            "said": notes[-3:],
        }

    def _run(self, given: dict[str, Any], **more: Any) -> TrainOptions:
        self._count += 1
        return TrainOptions(self._pairs, self._work / f"run{self._count}", store=self._work / "store", **more | given)


@contextlib.contextmanager
def free() -> Iterator[None]:
    """Trainings with torch's own settings."""
    before = cxrzero.train.loop.repeatable
    cxrzero.train.loop.repeatable = contextlib.nullcontext  # type: ignore[assignment]
    try:
        yield
    finally:
        cxrzero.train.loop.repeatable = before


def draw_pairs(folder: Path, count: int) -> Path:
    """Phantoms with what is true of them; a tenth is held out."""
    names = mini_phantoms.draw_all(folder, count, workers=len(os.sched_getaffinity(0)))
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text", "split", "weight"])
        for number, name in enumerate(names):
            split = "val" if number % 10 == 9 else "train"
            for text, weight in mini_phantoms.statements(mini_phantoms.FIRST_SEED + number).items():
                writer.writerow([name, text, split, weight])
    return folder / "pairs.csv"


if __name__ == "__main__":
    main()
