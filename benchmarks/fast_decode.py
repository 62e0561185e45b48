"""What --fast-decode gains and how far its scores deviate.

    python benchmarks/fast_decode.py --data ../shared/data [--films 60] [--model cxrzero-mini]

Deviation of d = cos⁺ − cos⁻ over the model's labels, on real films enlarged (bicubic) to 1536 pixels and stored as
JPEG and JPEG 2000, since those at hand have 512 at most: fine detail that a true large film has is missing from them.
Speed on a drawn film enlarged to 14 megapixels: decoding alone, one thread, in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from cxrzero.bench.machine import machine, versions
from cxrzero.images import DecodeOptions, decode
from cxrzero.phantom import draw
from cxrzero.screener import Screener
from cxrzero.stats.metrics import rank_correlation

SIDE = 1536
LARGE = (4096, 3416)
REPEATS = 5
QUALITY = {"jpg": {"quality": 90}, "jp2": {"quality_mode": "rates", "quality_layers": [10], "irreversible": True}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--films", type=int, default=60)
    parser.add_argument("--model", default="cxrzero-mini")
    args = parser.parse_args()
    print(machine(), versions())
    exact, fast = (Screener(args.model, device="cpu", cache=False, fast_decode=each) for each in (False, True))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in QUALITY:
            make(args.data, Path(folder) / suffix, suffix, args.films)
            a, b = differences(exact, Path(folder) / suffix), differences(fast, Path(folder) / suffix)
            deviation = (np.abs(b - a).max(axis=0) / a.std(axis=0)).max()
            rho = min(rank_correlation(x, y) for x, y in zip(a.T, b.T, strict=True))
            full, quick = speed(Path(folder), suffix, fast.decode_options)
            print(
                f"{suffix}: max |Δd| {deviation:.4f} sd, Spearman {rho:.4f} of the worst of {a.shape[1]} labels, "
                f"{len(a)} films; {LARGE[0]} × {LARGE[1]} decoded in {full:.0f} and {quick:.0f} ms: "
                f"{full / quick:.1f} times"
            )


def make(data: Path, folder: Path, suffix: str, films: int) -> None:
    folder.mkdir()
    for path in islice(sorted((data / "nih").rglob("*.jpg")), films):
        with Image.open(path) as image:
            side = (SIDE, round(SIDE * image.height / image.width))
            image.convert("L").resize(side, Image.Resampling.BICUBIC).save(
                folder / f"{path.stem}.{suffix}", **QUALITY[suffix]
            )


def differences(screener: Screener, folder: Path) -> np.ndarray:
    """d, (N, labels) float64."""
    rows = screener.predict(folder)
    return np.array([[row.cos_pos[label] - row.cos_neg[label] for label in row.scores] for row in rows], float)


def speed(folder: Path, suffix: str, options: DecodeOptions) -> tuple[float, float]:
    """Median milliseconds in full and with `options`."""
    path = folder / f"large.{suffix}"
    Image.fromarray(draw(1, 1024).to_uint8()).resize(LARGE[::-1], Image.Resampling.BICUBIC).save(
        path, **QUALITY[suffix]
    )
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for each, taken in zip((DecodeOptions(), options), times, strict=True):
            started = time.perf_counter()
            next(decode(path, each))
            taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()
