"""Images decoded per second, against pydicom's own `pixel_array`, in one run: python benchmarks/decode.py

pydicom stops at the stored values; `decode` goes on to 8-bit grey with its flags, and is the slower by that much. The
two take turns, file by file, so that whatever else the machine does slows both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "images"))

from dicomfile import SYNTAXES, dicom_bytes

from cxrzero.images import decode


def film(rows: int, columns: int, bits: int) -> np.ndarray:
    """A smooth picture with detector noise: it compresses as films do, to about half."""
    y, x = np.mgrid[0:rows, 0:columns] / rows
    smooth = (np.sin(9 * x) * np.cos(7 * y) + 1) / 2 * 0.8 + 0.1
    noise = np.random.default_rng(1).normal(0, 0.004, smooth.shape)
    return ((smooth + noise).clip(0, 1) * (2**bits - 1)).astype("u1" if bits == 8 else "u2")


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=1792)
    args = parser.parse_args()
    print(f"{args.rows} x {args.columns} pixels, median of {args.repeats}, milliseconds per image")
    print(f"{'transfer syntax':20s} {'MB':>6s} {'pydicom':>9s} {'cxrzero':>9s}  decoder")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        for name in SYNTAXES:
            bits = 8 if name == "jpeg_baseline" else 12
            path.write_bytes(dicom_bytes(film(args.rows, args.columns, bits), name, BitsStored=bits))
            print(f"{name:20s} {path.stat().st_size / 1e6:6.1f} " + compared(path, args.repeats))


def compared(path: Path, repeats: int) -> str:
    decoder = next(decode(path)).decoder
    theirs, ours = [], []
    for _ in range(repeats):
        try:
            theirs.append(milliseconds(lambda: pydicom.dcmread(path).pixel_array))
        except (RuntimeError, NotImplementedError):  # what pydicom raises when none of its decoders can
            theirs.append(float("nan"))
        ours.append(milliseconds(lambda: next(decode(path))))
    slower = statistics.median(theirs)
    return f"{'cannot' if slower != slower else f'{slower:9.1f}':>9s} {statistics.median(ours):9.1f}  {decoder}"


if __name__ == "__main__":
    main()
