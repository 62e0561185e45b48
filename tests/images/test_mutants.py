"""A few hundred broken files: each gives frames or a typed error. `benchmarks/fuzz_dicom.py` tries more."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrzero.errors import ImageError
from tests.support.dicomfile import Decode
from tests.support.mutate import dicom_seeds, mutant, raster_seeds


@pytest.mark.parametrize("kind", ["dicom", "raster"])
def test_broken_files_end_in_frames_or_typed_errors(decoded: Decode, kind: str, capfd: Any) -> None:
    seeds = dicom_seeds() if kind == "dicom" else raster_seeds()

    @settings(max_examples=400, derandomize=True, deadline=None, database=None,
              suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
    @given(number=st.integers(0, 2**32))
    def check(number: int) -> None:
        start = time.monotonic()
        said, images = "", []
        try:
            images = decoded(mutant(seeds, number))
        except ImageError as error:
            said = str(error)
        assert "SECRET" not in said
        assert all(image.pixels.dtype == "uint8" and image.pixels.ndim == 2 for image in images)
        assert time.monotonic() - start < 10

    check()
    if kind == "dicom":  # libtiff writes to standard error by itself
        assert "".join(capfd.readouterr()) == ""


def test_the_unbroken_files_are_read(decoded: Decode) -> None:
    for content in (*dicom_seeds(), *raster_seeds()):
        assert decoded(content)
