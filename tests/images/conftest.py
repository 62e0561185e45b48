"""Bytes are turned into decoded images."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrzero.images import DecodeOptions, Radiograph, decode
from tests.support.dicomfile import Decode


@pytest.fixture
def decoded(tmp_path: Path) -> Decode:
    """(content, options) → the frames of a file with this content."""

    def run(content: bytes, options: DecodeOptions | None = None) -> list[Radiograph]:
        path = tmp_path / "image"
        path.write_bytes(content)
        return list(decode(path, options))

    return run
