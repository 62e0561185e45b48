"""The geometry of preprocessing on a GPU: whether it gives Pillow's bits, and how fast it is beside Pillow on one core.

    python benchmarks/fit.py [--device cuda] [--seconds 0.5] [--films 6] [--out FILE]

Geometry of CheXzero, CLIP and cxrzero-mini, on films of noise, half of it black and white: of each of three usual sizes
as many as --films says, and 64 of sizes of their own, for which nothing is kept from one call to the next. First every
film is fitted on the device and by Pillow, and the bits are compared. Then calls of 64 films of one kind, from ordinary
memory, until the time is up: films fitted in a second, milliseconds of one, the GPU's memory.

`--device cpu` tries the program without a GPU. Beside the package it needs torch, Pillow and numpy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from cxrzero.backends.torch.fit import Fitter
from cxrzero.clip.steps import chexzero_steps, clip_steps
from cxrzero.model.geometry import Geometry
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.resample import fits_on_device, order_of_passes

MINI = [{"step": "resize", "height": 96, "width": 96, "interpolation": "bicubic"}, {"step": "rescale", "factor": 1.0}]
GEOMETRIES = {
    "chexzero": Preprocess(chexzero_steps(224), (224, 224)).fit,
    "clip": Preprocess(clip_steps(224), (224, 224)).fit,
    "cxrzero-mini": Preprocess(MINI, (96, 96)).fit,
}
SIZES = ((1024, 1024), (2048, 1792), (2544, 3056))
OWN = "of sizes of their own"
CALL = 64  # films


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each rate")
    parser.add_argument("--films", type=int, default=6, help="of each size")
    parser.add_argument("--out", type=Path, help="JSON of the result")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    films = {f"{height} x {width}": draw(rng, [(height, width)] * args.films) for height, width in SIZES}
    films[OWN] = draw(rng, [(int(h), int(w)) for h, w in rng.integers(700, 1400, (CALL, 2))])
    order = order_of_passes()
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "pillow": PIL.__version__, "numpy": np.__version__},
        "order_of_passes": order.__name__.strip("_") if order else None,
        "rows": [],
    }
    print(json.dumps(report), flush=True)
    for name, geometry in GEOMETRIES.items():
        if not fits_on_device(geometry):
            raise SystemExit(f"{name}: this Pillow's resize is not the arithmetic of cxrzero.model.resample")
        for kind, some in films.items():
            row = {"geometry": name, "films": kind, **measure(geometry, some, kind == OWN, args)}
            report["rows"].append(row)
            print(json.dumps(row), flush=True)
            if args.out:
                args.out.write_text(json.dumps(report, indent=2) + "\n")


def draw(rng: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Noise, in each film one half of black and white, where sums leave 0 to 255."""
    films = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    for film in films:
        film[: len(film) // 2] = np.where(film[: len(film) // 2] > 127, 255, 0)
    return films


def measure(geometry: Geometry, films: Sequence[np.ndarray], is_new: bool, args: argparse.Namespace) -> dict[str, Any]:
    """One row; `is_new` films are of sizes that no call has seen."""
    fitter = Fitter(geometry, args.device)
    started = time.perf_counter()
    expected = [geometry(film) for film in films]
    pillow = (time.perf_counter() - started) / len(films)
    found = fitter(films).cpu().numpy()
    differing = int(sum((a != b).sum() for a, b in zip(found, expected, strict=True)))
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    call = [films[index % len(films)] for index in range(CALL)]
    fitter(call).cpu()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < args.seconds:
        if is_new:
            fitter = Fitter(geometry, args.device)
        fitter(call).cpu()  # waits for the device
        calls += 1
    each = (time.perf_counter() - started) / (calls * CALL)
    peak = torch.cuda.max_memory_allocated() >> 20 if args.device == "cuda" else None
    return {
        "equal": differing == 0,
        "differing_pixels": differing,
        "films_per_second": round(1 / each, 1),
        "ms": round(each * 1e3, 4),
        "pillow_films_per_second": round(1 / pillow, 1),
        "pillow_ms": round(pillow * 1e3, 2),
        "gpu_mb": peak,
    }


if __name__ == "__main__":
    main()
