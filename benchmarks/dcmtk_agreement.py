"""Grey levels against dcmtk's renderer, an independent implementation: python benchmarks/dcmtk_agreement.py [FILE…]

Prints the largest and the mean absolute difference in 8-bit grey levels per file. Without files: generated ones, every
chain that dcmtk 3.6 implements (no LINEAR_EXACT) × every encoding that it reads. JPEG 2000, which it does not read, is
decompressed with pydicom first.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image

from cxrzero.images import decode
from tests.support.dicomfile import dicom_bytes

READ_BY_DCMTK = (
    "implicit",
    "explicit",
    "deflated",
    "big_endian",
    "rle",
    "jpeg_lossless",
    "jpeg_lossless_sv1",
    "jpegls",
)


def generated() -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files that this script draws."""
    lut = {"LUTDescriptor": [3000, 100, 16], "LUTData": [int((i / 2999) ** 0.6 * 65535) for i in range(3000)]}
    voi: dict[str, dict[str, Any]] = {
        "range": {},
        "linear": {"WindowCenter": "1500.5", "WindowWidth": "2200"},
        "sigmoid": {"WindowCenter": "1500", "WindowWidth": "2200", "VOILUTFunction": "SIGMOID"},
        "voi_lut": {"VOILUTSequence": [lut]},
    }
    modality: dict[str, dict[str, Any]] = {
        "plain": {},
        "rescale": {"RescaleSlope": "0.75", "RescaleIntercept": "12"},
        "modality_lut": {"ModalityLUTSequence": [lut]},
    }
    y, x = np.mgrid[0:96, 0:80]
    picture = ((np.sin(x / 11) * np.cos(y / 17) + 1) / 2 * 4095).astype(np.uint16)
    for syntax, (m, first), (v, second), photometric, signed in product(
        READ_BY_DCMTK, modality.items(), voi.items(), ("MONOCHROME1", "MONOCHROME2"), (False, True)
    ):
        if signed and (m != "plain" or syntax != "explicit"):
            continue
        stored = picture.astype(np.int16) - 500 if signed else picture
        name = f"{syntax}/{m}/{v}/{photometric}/{'signed' if signed else 'unsigned'}"
        yield name, dicom_bytes(stored, syntax, BitsStored=16 if signed else 12, PhotometricInterpretation=photometric,
                                **first, **second)  # fmt: skip


def difference(path: Path) -> tuple[int, float]:
    """Largest and mean absolute difference in grey levels of the first frame."""
    ours = next(decode(path)).pixels.astype(int)
    theirs = rendered(path).astype(int)
    if ours.shape != theirs.shape:
        raise ValueError(f"{path}: {ours.shape} here, {theirs.shape} in dcmtk")
    apart = np.abs(ours - theirs)
    return int(apart.max()), float(apart.mean())


def rendered(path: Path) -> np.ndarray:
    """What dcmtk makes of the file, with the VOI that the standard prefers: LUT, else first window, else range."""
    header = pydicom.dcmread(path, force=True)
    syntax = header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")
    voi = ["+Wm"]
    if "VOILUTSequence" in header:
        voi = ["+Wl", "1"]
    elif header.get("WindowCenter") not in (None, ""):
        voi = ["+Wi", "1", *(["+Wfs"] if header.get("VOILUTFunction") == "SIGMOID" else [])]
    with tempfile.TemporaryDirectory() as folder:
        source = path
        if syntax.startswith("1.2.840.10008.1.2.4.9"):
            source = Path(folder) / "uncompressed.dcm"
            header.decompress()
            header.save_as(source)
        tool = "dcml2pnm" if syntax.startswith("1.2.840.10008.1.2.4.8") else "dcmj2pnm"
        command = [tool, "--write-raw-pnm", "--no-overlays", *voi, str(source)]
        if not header.preamble:
            command[1:1] = ["--read-dataset"]
        image = subprocess.run(command, capture_output=True, check=True).stdout
    return np.asarray(Image.open(io.BytesIO(image)).convert("L"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        named = [(name, Path(name)) for name in sys.argv[1:]]
        if not named:
            for i, (name, content) in enumerate(generated()):
                path = Path(folder) / f"{i}.dcm"
                path.write_bytes(content)
                named.append((name, path))
        results = [(name, *difference(path)) for name, path in named]
    for name, largest, mean in results:
        if sys.argv[1:] or largest > 1:
            print(f"{name}: largest {largest}, mean {mean:.3f}")
    print(f"{len(results)} files; largest difference {max(largest for _, largest, _ in results)}; "
          f"{sum(largest > 1 for _, largest, _ in results)} above 1")  # fmt: skip


if __name__ == "__main__":
    main()
