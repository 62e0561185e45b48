"""--fast-decode: JPEG and JPEG 2000 files no larger than needed, everything else in full."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.images import DecodeOptions, decode
from cxrzero.phantom import draw


@pytest.fixture(scope="module")
def film() -> Image.Image:
    return Image.fromarray(draw(1, (1200, 1000)).to_uint8())


@pytest.mark.parametrize("suffix", ["jpg", "jp2"])
@pytest.mark.parametrize(
    ("side", "size"), [(100, (150, 125)), (126, (300, 250)), (500, (600, 500)), (501, (1200, 1000))]
)
@pytest.mark.slow
def test_the_smallest_size_with_no_side_too_short(
    film: Image.Image, tmp_path: Path, suffix: str, side: int, size: tuple[int, int]
) -> None:
    film.save(tmp_path / f"film.{suffix}")
    found = next(decode(tmp_path / f"film.{suffix}", DecodeOptions(fast_side=side)))
    assert found.pixels.shape == size
    assert ("fast_decode" in [step.name for step in found.steps]) == (side <= 500)
    whole = np.asarray(film.resize(size[::-1], Image.Resampling.BOX), float)
    assert np.corrcoef(found.pixels.ravel(), whole.ravel())[0, 1] > 0.99


def test_other_formats_are_decoded_in_full(film: Image.Image, tmp_path: Path) -> None:
    film.save(tmp_path / "film.png")
    found = next(decode(tmp_path / "film.png", DecodeOptions(fast_side=100)))
    np.testing.assert_array_equal(found.pixels, np.asarray(film))


def test_predict_records_it_and_never_takes_an_embedding_of_the_other_kind(
    film: Image.Image, tmp_path: Path, tiny_bundle: Path
) -> None:
    film.save(tmp_path / "film.jpg")
    records = []
    for number, more in enumerate([[], ["--fast-decode"], ["--fast-decode"]]):
        out = tmp_path / f"{number}.csv"
        command = ["predict", str(tmp_path / "film.jpg"), "--model", str(tiny_bundle), "--out", str(out), *more]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        records.append(json.loads(out.with_suffix(".run.json").read_text()))
    assert [record["options"]["fast_decode"] for record in records] == [None, 224, 224]
    assert [record["cache"]["cached"] for record in records] == [0, 0, 1]
    steps = [[step["step"] for step in record["preprocess"]] for record in records]
    assert steps[1] == steps[2] == ["fast_decode", *steps[0]]
    assert records[1]["preprocess"][0] == {"step": "fast_decode", "least_side": 224}
