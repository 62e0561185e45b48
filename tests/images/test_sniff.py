"""What a file is, by its first bytes, and without loading a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cxrzero.errors import ImageError
from cxrzero.images.sniff import HEAD_BYTES, kind_of, kind_of_bytes
from tests.support.dicomfile import dicom_bytes, encode_element, file_meta
from tests.support.mutate import raster_seeds

PICTURE = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian", "deflated", "rle"])
@pytest.mark.parametrize("preamble", [True, False])
def test_dicom(syntax: str, preamble: bool) -> None:
    if syntax == "deflated" and not preamble:
        pytest.skip("a deflated data set without its header is only noise")
    assert kind_of_bytes(dicom_bytes(PICTURE, syntax, preamble=preamble)[:HEAD_BYTES]) == "dicom"


def test_dicomdir() -> None:
    assert kind_of_bytes(file_meta("1.2.840.10008.1.2.1", "1.2.840.10008.1.3.10")) == "dicomdir"


def test_rasters() -> None:
    kinds = {kind_of_bytes(content[:HEAD_BYTES]) for content in raster_seeds()}
    assert kinds == {"png", "jpeg", "tiff", "bmp", "gif", "webp", "jp2"}


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\0" * 1024, b"Dear colleague, " * 64, b"path,frame\na,1\n", b"BM is a company.....", b"%PDF-1.7",
     b"\x08\x00\x05\x00", b"\x08\x00\x05\x00text that goes on and on" + b" " * 1000, b"PK\x03\x04" + b"\0" * 60,
     encode_element(0x00080005, "CS", "ISO_IR 100", False, "<") + b"and then some text" * 60],
)  # fmt: skip
def test_nothing_else(content: bytes) -> None:
    assert kind_of_bytes(content) is None


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="unreadable"):
        kind_of(tmp_path / "missing")


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = bytes(tmp_path) + b"/\xff"
    Path(path.decode(errors="surrogateescape")).write_bytes(b"GIF89a")
    assert kind_of(path) == "gif"


def test_loads_no_library() -> None:
    code = (
        "import sys, cxrzero.images.sniff; print(sorted({'numpy', 'PIL', 'pydicom', 'imagecodecs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
