"""What --fast-decode gains and how far its scores deviate.

    python benchmarks/fast_decode.py --data ../shared/data [--films 40] [--model cxrzero-mini] [--repeats 5]

Deviation of d = cos⁺ − cos⁻ over the model's labels, on real films enlarged (bicubic) to 1536 pixels and stored in each
format, since those at hand have 512 at most: fine detail that a true large film has is missing from them. Without
--data only the speed is measured: of a film of 2048 × 1792 pixels with a detector's noise, from the file to grey, per
second of processor time, in turns. `fast` keeps the sides that --model asks for, `fast for 224` those of models that
see 224 pixels.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.decode import film
from cxrzero.bench.machine import machine, versions
from cxrzero.images import DecodeOptions, decode
from cxrzero.screener import Screener
from cxrzero.screener.models import FAST_OVERSAMPLING
from cxrzero.stats.metrics import rank_correlation
from tests.support.dicomfile import dicom_bytes, encapsulate

SIDE = 1536
SPEED_SIZE = (2048, 1792)
LOSSY = {"quality_mode": "rates", "quality_layers": [10], "irreversible": True}


def as_file(pixels: np.ndarray, file_format: str, **how: object) -> bytes:
    """(H, W) of 12 bits → a file of 8."""
    with tempfile.SpooledTemporaryFile() as file:
        Image.fromarray((pixels >> 4).astype(np.uint8)).save(file, file_format, **how)
        file.seek(0)
        return file.read()


def as_dicom(pixels: np.ndarray, syntax: str, compress: Callable[[np.ndarray], bytes], bits: int = 12) -> bytes:
    """(H, W) of 12 bits → DICOM with a window over the whole range."""
    pixels = pixels if bits == 12 else (pixels >> 4).astype(np.uint8)
    header = {"Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": 8 * pixels.dtype.itemsize,
              "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0,
              "WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}  # fmt: skip
    return dicom_bytes(encapsulate([bytes(compress(pixels))]), syntax, **header)


_JPEG2000 = partial(imagecodecs.jpeg2k_encode, codecformat="J2K", bitspersample=12)
_HTJ2K = partial(imagecodecs.htj2k_encode, reversible=True)
KINDS: dict[str, Callable[[np.ndarray], bytes]] = {
    "JPEG file": partial(as_file, file_format="jpeg", quality=90),
    "JPEG 2000 file, lossy": partial(as_file, file_format="jpeg2000", **LOSSY),
    "DICOM, JPEG": partial(
        as_dicom, syntax="jpeg_baseline", compress=partial(imagecodecs.jpeg8_encode, level=90), bits=8
    ),
    "DICOM, JPEG 2000 lossless": partial(
        as_dicom, syntax="jpeg2000_lossless", compress=partial(_JPEG2000, reversible=True)
    ),
    "DICOM, JPEG 2000 lossy": partial(
        as_dicom, syntax="jpeg2000", compress=partial(_JPEG2000, reversible=False, level=60)
    ),
    "DICOM, HTJ2K lossless": partial(as_dicom, syntax="htj2k_lossless", compress=_HTJ2K),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--model", default="cxrzero-mini")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(machine(), versions())
    exact, fast = (Screener(args.model, device="cpu", cache=False, fast_decode=each) for each in (False, True))
    sides = (DecodeOptions(), fast.decode_options, DecodeOptions(fast_side=FAST_OVERSAMPLING * 224))
    print("| format | max Δd / sd | Spearman | in full, films/s and core | fast | gain | fast for 224 | gain |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, write) in enumerate(KINDS.items()):
            deviation = rho = float("nan")
            if args.data:
                films = Path(folder) / str(number)
                store(args.data, films, write, args.films)
                a, b = differences(exact, films), differences(fast, films)
                deviation = (np.abs(b - a).max(axis=0) / a.std(axis=0)).max()
                rho = min(rank_correlation(x, y) for x, y in zip(a.T, b.T, strict=True))
            path = Path(folder) / "one"
            path.write_bytes(write(film(*SPEED_SIZE, 12)))
            full, *quick = rates(path, args.repeats, sides)
            gains = "".join(f" | {rate:.1f} | {rate / full:.1f} ×" for rate in quick)
            print(f"| {name} | {deviation:.3f} | {rho:.4f} | {full:.1f}{gains} |", flush=True)


def store(data: Path, folder: Path, write: Callable[[np.ndarray], bytes], films: int) -> None:
    folder.mkdir()
    for path in islice(sorted((data / "nih").rglob("*.jpg")), films):
        with Image.open(path) as image:
            size = (SIDE, round(SIDE * image.height / image.width))
            large = np.asarray(image.convert("F").resize(size, Image.Resampling.BICUBIC))
        (folder / path.stem).write_bytes(write((large * 16).round().clip(0, 4095).astype(np.uint16)))


def differences(screener: Screener, folder: Path) -> np.ndarray:
    """d, (N, labels) float64."""
    rows = screener.predict(folder)
    return np.array([[row.cos_pos[label] - row.cos_neg[label] for label in row.scores] for row in rows], float)


def rates(path: Path, repeats: int, sides: Sequence[DecodeOptions]) -> list[float]:
    """Films per second of processor time, by the median, for each of the options."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for options, taken in zip(sides, times, strict=True):
            started = time.process_time()
            next(decode(path, options))
            taken.append(time.process_time() - started)
    return [1 / statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
