"""Maps in files, and what is read off them."""

from __future__ import annotations

import dataclasses
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.errors import ConfigError, NoInputError
from cxrzero.heatmap.arrays import FilmMaps, Region, read_npz, write_npz
from cxrzero.heatmap.heights import above_half, peak_of

MAPS = FilmMaps(
    path="ward/'=film \\xff.png",
    frame=3,
    labels=("pneumonia", "mass, left", "肺炎"),
    maps=np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32),
    probabilities=np.array([0.25, 0.5, 0.75], np.float32),
    rows=200,
    columns=301,
    method="patch",
    fingerprint="ab12",
    orientation=6,
    seen=Region(0, 3, 301, 190),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", MAPS)
    read = read_npz(tmp_path / "a.npz")
    arrays = {"maps", "probabilities"}
    assert all(getattr(read, f.name) == getattr(MAPS, f.name) for f in dataclasses.fields(MAPS) if f.name not in arrays)
    np.testing.assert_array_equal(read.maps, MAPS.maps)
    np.testing.assert_array_equal(read.probabilities, MAPS.probabilities)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as plain:  # without this package
        assert list(plain["labels"]) == list(MAPS.labels)


def content(**changes: Any) -> dict[str, Any]:
    return {
        "maps": MAPS.maps, "probabilities": MAPS.probabilities, "labels": np.array(MAPS.labels), "path": np.array("a"),
        "method": np.array("patch"), "fingerprint": np.array("f"),
        "numbers": np.array([1, 200, 301, 1, 0, 0, 301, 200]), **changes,
    }  # fmt: skip


WRONG: dict[str, dict[str, Any]] = {
    "objects": {"labels": np.array([{}, {}, {}], object)},
    "more labels than maps": {"labels": np.array(["a", "b", "c", "d"])},
    "larger than a frame": {"numbers": np.array([1, 10, 301, 1, 0, 0, 301, 10])},
    "an orientation": {"numbers": np.array([1, 200, 301, 9, 0, 0, 301, 200])},
    "not a number": {"maps": np.full((3, 20, 30), np.nan, np.float32)},
    "another type": {"maps": MAPS.maps.astype(np.float64)},
    "a side": {"maps": np.zeros((3, 1025, 1), np.float32), "numbers": np.array([1, 9000, 301, 1, 0, 0, 9, 9])},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_of_a_film_is_refused(tmp_path: Path, wrong: str) -> None:
    np.savez(tmp_path / "a.npz", **content(**WRONG[wrong]))
    with pytest.raises(ConfigError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


def test_a_claim_is_checked_before_memory_is_taken(tmp_path: Path) -> None:
    """A header that claims 4 TB over a few bytes; `np.load` would ask for them."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 1024, 1024)})
    np.savez(tmp_path / "a.npz", **content())
    with zipfile.ZipFile(tmp_path / "a.npz") as good, zipfile.ZipFile(tmp_path / "b.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, header.getvalue() if name == "maps.npy" else good.read(name))
    with pytest.raises(ConfigError, match="maps is float32 of shape"):
        read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", pickle.dumps([1]), b"\x93NUMPY"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ConfigError):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(NoInputError):
        read_npz(tmp_path / "none.npz")


def test_the_peak_of_a_flat_top_is_its_middle() -> None:
    found = np.zeros((9, 11), np.float32)
    found[0:3, 7:11] = 1  # a corner, as where the outermost cell is highest
    assert peak_of(found) == (1, 8.5)
    maps = dataclasses.replace(MAPS, maps=found[None], rows=90, columns=110)
    assert maps.peak(0) == (90, 15)


def test_the_region_is_what_lies_above_half_of_the_height() -> None:
    found = np.full((10, 20), -3.0, np.float32)
    found[2:4, 5:9], found[7, 15] = -1.0, -1.9  # half is −2
    maps = dataclasses.replace(MAPS, maps=found[None], rows=100, columns=400)
    box, share = maps.region(0)
    assert box == (100, 20, 320, 80)
    assert share == pytest.approx(9 / 200)


def test_height_counts_from_zero_where_there_are_both_signs() -> None:
    found = np.array([[-9.0, 0.9, 1.1, 2.0]], np.float32)  # half of the height is 1, not −3.5
    assert above_half(found).tolist() == [[False, False, True, True]]
    assert above_half(found + 10).tolist() == [[False, True, True, True]]  # of 1 to 12 it is 6.5
    assert above_half(found - 3).tolist() == [[False, True, True, True]]  # of −12 to −1


def test_a_map_that_is_the_same_everywhere_has_a_region() -> None:
    assert above_half(np.zeros((3, 4), np.float32)).all()
