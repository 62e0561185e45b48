"""Makes the file writer importable, and turns bytes into decoded images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `dicomfile`, which benchmarks use too

from dicomfile import Decode

from cxrzero.images import DecodeOptions, Radiograph, decode


@pytest.fixture
def decoded(tmp_path: Path) -> Decode:
    """(content, options) → the frames of a file with this content."""

    def run(content: bytes, options: DecodeOptions | None = None) -> list[Radiograph]:
        path = tmp_path / "image"
        path.write_bytes(content)
        return list(decode(path, options))

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public images that are not part of the repository."""
    root = Path(os.environ.get("CXRZERO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no image collection at {root}; set CXRZERO_SHARED_DATA")
    return root
