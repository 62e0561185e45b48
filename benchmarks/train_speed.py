"""Images per second of the training loop beside what the same model could do, and beside the reference's reading.

    python benchmarks/train_speed.py --arch ViT-B-32-quickgelu --batch-size 16
    python benchmarks/train_speed.py --arch ViT-B-32-quickgelu --batch-size 16 --recipe chexzero

Three ways in one run, taking turns, so that a busy machine slows all of them alike:

    loop       a step of `cxrzero train`: draw, read from the store, augment, tokenise, gradient, clip, AdamW, average;
               with --recipe chexzero what the reference does: films of 320 pixels resized, gradient, SGD
    pure       forward and backward on fixed tensors of the same shapes, nothing else
    reference  forward, backward and SGD on decoded float32 films read from HDF5 one by one, repeated to three channels,
               normalised and resized, no workers (needs h5py; left out where it is not installed)

Printed: the median seconds of a step of each way, images/s, and the ratios. Draws its own films.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss
from PIL import Image
from torch.nn import functional

from cxrzero.clip.architecture import build_model, learns_tokenizer, load_arch
from cxrzero.clip.steps import CHEXZERO_MEAN, CHEXZERO_SIDE, CHEXZERO_STD
from cxrzero.train import Progress, recipe_options, train

WORDS = ("heart", "lungs", "clear", "effusion", "small", "left", "right", "opacity", "mild", "stable", "large")


class Enough(Exception):
    """Stops the training when every way has had its turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="cxrzero-mini")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", choices=("default", "chexzero"), default="default")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as work:
        seconds = measure(options, Path(work))
    median = {way: statistics.median(times) for way, times in seconds.items()}
    found: dict[str, Any] = {**vars(options), "load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)}
    for way, value in median.items():
        found[way] = {"seconds_a_step": round(value, 3), "images_per_second": round(options.batch_size / value, 2)}
    found |= {f"loop/{way}": round(value / median["loop"], 3) for way, value in median.items() if way != "loop"}
    print(json.dumps(found, indent=2))


def measure(options: argparse.Namespace, work: Path) -> dict[str, list[float]]:
    """Seconds of each step of each way; the first turn warms up and is left out."""
    pairs = draw_films(work / "films", options.batch_size * 4)
    ways = {"pure": pure_way(options), "reference": reference_way(options, work)}
    seconds: dict[str, list[float]] = {"loop": [], **{name: [] for name, way in ways.items() if way is not None}}
    started = time.perf_counter()

    def take_turns(progress: Progress) -> None:
        nonlocal started
        if progress.stage == "step":
            seconds["loop"].append(time.perf_counter() - started)
            for name, way in ways.items():
                if way is not None:
                    began = time.perf_counter()
                    way()
                    seconds[name].append(time.perf_counter() - began)
            if len(seconds["loop"]) > options.turns:
                raise Enough
        started = time.perf_counter()

    config = recipe_options(
        options.recipe, pairs=pairs, out=work / "run", arch=options.arch, epochs=options.turns + 2,
        batch_size=options.batch_size, threads=options.threads, precision=options.precision, device="cpu",
        texts_per_image=1, val_every=10**6,
    )  # fmt: skip
    with contextlib.suppress(Enough):
        train(config, take_turns)
    return {name: times[1:] for name, times in seconds.items()}


def draw_films(folder: Path, count: int) -> Path:
    """Noise at 512 pixels and a sentence of ten words each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,text"]
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (512, 512), np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{number} {' '.join(rng.choice(WORDS, 10))}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder / "pairs.csv"


def gradient(model: Any, images: torch.Tensor, ids: torch.Tensor, bf16: bool) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        embeds = model.encode_image(images), model.encode_text(ids)
    normal = [functional.normalize(each.float(), dim=-1) for each in embeds]
    model.zero_grad(set_to_none=True)
    torch.autograd.backward(ClipLoss()(*normal, model.logit_scale.exp()))


def texts(arch: dict[str, Any], count: int) -> torch.Tensor:
    """Ids of about the length that the loop gives: whole context for CLIP's towers, the longest text for ours."""
    length = 16 if learns_tokenizer(arch) else arch["text_cfg"]["context_length"]
    ids = torch.randint(3, 400, (count, length))
    ids[:, -1] = 2 if learns_tokenizer(arch) else 49407
    return ids


def pure_way(options: argparse.Namespace) -> Callable[[], None]:
    arch = load_arch(options.arch)
    model = build_model(arch).to(memory_format=torch.channels_last).train()
    side = arch["vision_cfg"]["image_size"]
    images = torch.randn(options.batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)
    ids = texts(arch, options.batch_size)
    return lambda: gradient(model, images, ids, options.precision == "bf16")


def reference_way(options: argparse.Namespace, work: Path) -> Callable[[], None] | None:
    try:
        import h5py
    except ImportError:
        return None
    arch = load_arch(options.arch)
    model = build_model(arch).train()
    side, ids = arch["vision_cfg"]["image_size"], texts(arch, options.batch_size)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    shape = (options.batch_size * 4, CHEXZERO_SIDE, CHEXZERO_SIDE)
    file = h5py.File(work / "films.h5", "w")
    films = file.create_dataset("cxr", data=np.random.default_rng(0).random(shape, np.float32) * 255)
    rng = np.random.default_rng(1)

    def step() -> None:
        rows = [np.repeat(films[i][None], 3, axis=0) for i in rng.integers(0, len(films), options.batch_size)]
        ready = [
            functional.interpolate(
                ((torch.from_numpy(row) - CHEXZERO_MEAN) / CHEXZERO_STD)[None],
                size=(side, side),
                mode="bicubic",
                align_corners=False,
            )
            for row in rows
        ]
        gradient(model, torch.cat(ready), ids, options.precision == "bf16")
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
