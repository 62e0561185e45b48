"""Every DICOM file that pydicom's wheel brings along: what becomes of it, and its samples against pydicom's own.

`pydicom_files.csv` is the record; `python tests/images/test_pydicom_files.py` writes it anew.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.utils import pixel_array

from cxrzero.errors import ImageError
from cxrzero.images import decode
from cxrzero.images.codecs import DECODED_TO_RGB
from cxrzero.images.dicom_file import open_dicom
from cxrzero.images.dicom_frames import read_frames, read_layout
from cxrzero.images.radiograph import Facts
from cxrzero.images.stored import stored_values
from tests.support.needs import modules

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
TABLE = Path(__file__).with_name("pydicom_files.csv")
COLUMNS = ("file", "modality", "outcome", "frames", "decoder", "flags", "reason")


def files() -> list[Path]:
    """All but the 300 slices of the DICOMDIR example, which are alike."""
    tree = sorted(p for p in FOLDER.rglob("*") if p.is_file())
    return [p for p in tree if "dicomdirtests" not in p.parts or p.name.startswith("DICOMDIR")]


def row_of(path: Path) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "") | {"file": path.relative_to(FOLDER).as_posix(), "outcome": "scored"}
    try:
        images = list(decode(path))
    except ImageError as error:
        modality = Facts(*error.facts).modality if error.facts else ""
        return row | {"outcome": error.status, "reason": str(error), "modality": modality}
    return row | {
        "modality": images[0].facts.modality,
        "frames": str(len(images)),
        "decoder": images[0].decoder,
        "flags": ";".join(sorted(flag for flag in images[0].flags if not flag.startswith("maybe_"))),
    }


def committed() -> dict[str, dict[str, str]]:
    with TABLE.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("path", files(), ids=lambda p: p.name)
def test_outcome_is_the_committed_one(path: Path) -> None:
    known = committed().get(path.relative_to(FOLDER).as_posix())
    if known is None:
        pytest.skip("this release of pydicom brings a file that the table does not know")
    assert row_of(path) == known


# Files whose samples cannot be compared, and why.
# JPEG lossless, JPEG-LS and some JPEG 2000: pydicom decodes them with other packages only.
NEEDS_MORE = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (57, 70, 80, 81, 90))
NOT_COMPARED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "pydicom ends the frame at a delimiter inside it",
    "JPEG-lossy.dcm": "12-bit JPEG, which no decoder that pydicom knows can read; test_dcmtk.py compares it",
    "JPGExtended.dcm": "the same",
    "MR_truncated.dcm": "truncated on purpose",
    "badVR.dcm": "states a number of frames that is none",
    "no_meta.dcm": "starts in the middle of an element",
}


def comparable() -> list[Path]:
    found = []
    for path in files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            except Exception:  # not DICOM at all
                continue
        if "Rows" in header and "BitsAllocated" in header and path.name not in NOT_COMPARED:
            found.append(path)
    return found


@pytest.mark.parametrize("path", comparable(), ids=lambda p: p.name)
@pytest.mark.filterwarnings("ignore")
def test_samples_are_those_of_pydicom(path: Path) -> None:
    """Whatever the modality: CT and MR are skipped by `decode`, but their samples are read by the same code."""
    dataset = pydicom.dcmread(path, force=True)
    if "PixelData" not in dataset:
        pytest.skip("no pixel data")
    with open_dicom(path) as dicom:
        layout = read_layout(dicom, 10**9)
        frames = [stored_values(f.samples, f.claim, layout.stored)[0] for f in read_frames(dicom, layout)]
        to_rgb = dicom.transfer_syntax in DECODED_TO_RGB and layout.samples == 3
    if dicom.transfer_syntax in NEEDS_MORE:
        modules("gdcm", "jpeg_ls", "openjpeg")
    theirs = pixel_array(dataset, raw=not to_rgb)
    ours = np.stack(frames) if layout.frames > 1 else frames[0]
    # Two decoders of lossy JPEG, or of 4:2:2 chrominance, may differ by a rounding each.
    tolerance = 4 if to_rgb else 1 if dicom.transfer_syntax.endswith((".50", ".51")) else 0
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max() <= tolerance


if __name__ == "__main__":
    writer = csv.DictWriter(
        TABLE.open("w", newline="") if "--write" in sys.argv else sys.stdout, COLUMNS, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(row_of(path) for path in files())
