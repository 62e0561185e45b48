"""Grey levels agree with dcmtk's renderer; skipped where dcmtk is not installed (Debian: apt install dcmtk)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from benchmarks.dcmtk_agreement import difference, generated
from cxrzero.images.dicom_file import open_dicom
from cxrzero.images.dicom_frames import read_frames, read_layout
from tests.support.needs import program


@pytest.fixture(autouse=True)
def dcmtk() -> None:
    program("dcmj2pnm", "dcmtk")


def test_generated_files(tmp_path: Path) -> None:
    """At most 1 apart: dcmtk truncates to 8 bits where this package rounds."""
    apart = {}
    for name, content in list(generated())[::5]:
        path = tmp_path / "image.dcm"
        path.write_bytes(content)
        apart[name] = difference(path)[0]
    assert max(apart.values()) <= 1, {name: d for name, d in apart.items() if d > 1}


def test_public_radiographs(shared_data: Path) -> None:
    files = sorted((shared_data / "dicom").glob("*.dcm"))
    assert files
    assert {path.name: difference(path)[0] for path in files if difference(path)[0] > 1} == {}


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_12_bit_jpeg(tmp_path: Path, name: str) -> None:
    """No decoder that pydicom knows reads these; dcmtk's own does."""
    source = Path(pydicom.__file__).parent / "data" / "test_files" / name
    subprocess.run(["dcmdjpeg", str(source), str(tmp_path / "plain.dcm")], check=True, capture_output=True)
    theirs = pydicom.dcmread(tmp_path / "plain.dcm").pixel_array
    with open_dicom(source) as dicom:
        (frame,) = read_frames(dicom, read_layout(dicom, 10**9))
    assert frame.decoder == "imagecodecs/jpeg8"
    assert np.abs(frame.samples.astype(int) - theirs.astype(int)).max() <= 1
