"""Images decoded per second of processor time, DICOM beside pydicom's `pixel_array`, other files beside Pillow.

    python benchmarks/decode.py

pydicom and Pillow stop at the stored values; `decode` goes on to 8-bit grey with its flags, and is the slower by that
much. Processor time, because some decoders take several cores for one picture. The two take turns, file by file, so
that whatever else the machine does slows both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image

from cxrzero.bench.machine import machine, versions
from cxrzero.images import decode
from tests.support.dicomfile import SYNTAXES, dicom_bytes

# Name → Pillow's format, bits, how it is saved.
FILES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "PNG": ("png", 8, {}),
    "PNG, 16 bits": ("png", 16, {}),
    "JPEG": ("jpeg", 8, {"quality": 90}),
    "JPEG 2000": ("jpeg2000", 8, {"quality_mode": "rates", "quality_layers": [10], "irreversible": True}),
    "TIFF": ("tiff", 8, {}),
    "TIFF, deflate": ("tiff", 8, {"compression": "tiff_adobe_deflate"}),
}


def film(rows: int, columns: int, bits: int) -> np.ndarray:
    """A smooth picture with detector noise: it compresses as films do, to about half."""
    y, x = np.mgrid[0:rows, 0:columns] / rows
    smooth = (np.sin(9 * x) * np.cos(7 * y) + 1) / 2 * 0.8 + 0.1
    noise = np.random.default_rng(1).normal(0, 0.004, smooth.shape)
    return ((smooth + noise).clip(0, 1) * (2**bits - 1)).astype("u1" if bits == 8 else "u2")


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=1792)
    args = parser.parse_args()
    print(machine(), versions())
    print(f"{args.rows} x {args.columns} pixels, median of {args.repeats}, images per second of processor time")
    print(f"{'':20s} {'MB':>6s} {'pydicom':>9s} {'cxrzero':>9s}  decoder")
    with tempfile.TemporaryDirectory() as folder:
        for name in SYNTAXES:
            bits = 8 if name == "jpeg_baseline" else 12
            path = Path(folder) / "image.dcm"
            path.write_bytes(dicom_bytes(film(args.rows, args.columns, bits), name, BitsStored=bits))
            print(line(name, path, with_pydicom, args.repeats))
        print(f"{'':20s} {'MB':>6s} {'Pillow':>9s} {'cxrzero':>9s}  decoder")
        for name, (file_format, bits, how) in FILES.items():
            path = Path(folder) / f"image.{file_format}"
            Image.fromarray(film(args.rows, args.columns, bits)).save(path, file_format, **how)
            print(line(name, path, with_pillow, args.repeats))


def with_pydicom(path: Path) -> None:
    pydicom.dcmread(path).pixel_array  # noqa: B018


def with_pillow(path: Path) -> None:
    with Image.open(path) as image:
        np.asarray(image)


def line(name: str, path: Path, other: Callable[[Path], None], repeats: int) -> str:
    decoder = next(decode(path)).decoder
    theirs, ours = [], []
    for _ in range(repeats):
        try:
            theirs.append(seconds(lambda: other(path)))
        except (RuntimeError, NotImplementedError):  # what pydicom raises when none of its decoders can
            theirs.append(float("nan"))
        ours.append(seconds(lambda: next(decode(path))))
    slower = statistics.median(theirs)
    rate = "cannot" if slower != slower else f"{1 / slower:.1f}"
    return f"{name:20s} {path.stat().st_size / 1e6:6.1f} {rate:>9s} {1 / statistics.median(ours):9.1f}  {decoder}"


if __name__ == "__main__":
    main()
