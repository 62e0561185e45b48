"""--fast-decode for files of other kinds than DICOM: JPEG and JPEG 2000 no larger than needed, the rest in full."""

import json
import struct
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


@pytest.mark.parametrize(("size", "kept"), [((1001, 777), (251, 195)), ((402, 405), (101, 102))])
def test_jpeg_2000_with_sides_that_are_no_multiples(
    tmp_path: Path, size: tuple[int, int], kept: tuple[int, int]
) -> None:
    """Pillow's own `reduce` calls these broken."""
    Image.fromarray(draw(1, size).to_uint8()).save(tmp_path / "film.jp2")
    assert next(decode(tmp_path / "film.jp2", DecodeOptions(fast_side=100))).pixels.shape == kept


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_jpeg_2000_is_not_shifted(tmp_path: Path, mode: str) -> None:
    """A ramp in both directions, whose mean over whole pixels of the smaller picture is the larger one's."""
    ramp = (np.add.outer(np.arange(800), np.arange(800)) * 255 // 1598).astype(np.uint8)
    Image.fromarray(ramp).convert(mode).save(tmp_path / "film.jp2")
    found = next(decode(tmp_path / "film.jp2", DecodeOptions(fast_side=100))).pixels
    assert found.shape == (100, 100)
    assert abs(found[1:-1, 1:-1].mean() - ramp[8:-8, 8:-8].mean()) < 0.3  # 1.0 where the first stands on the first


@pytest.mark.parametrize(("resolutions", "shape"), [(1, (400, 400)), (2, (200, 200)), (6, (100, 100))])
def test_jpeg_2000_is_halved_as_often_as_it_was_written(
    tmp_path: Path, resolutions: int, shape: tuple[int, int]
) -> None:
    Image.fromarray(draw(1, 400).to_uint8()).save(tmp_path / "film.jp2", num_resolutions=resolutions)
    assert next(decode(tmp_path / "film.jp2", DecodeOptions(fast_side=100))).pixels.shape == shape


def test_a_palette_is_decoded_in_full(tmp_path: Path) -> None:
    """The mean of two entries' numbers is a third colour."""
    film = Image.fromarray(draw(1, 400).to_uint8())
    film.save(tmp_path / "plain.jp2")
    boxes = (tmp_path / "plain.jp2").read_bytes()
    entries = bytes(value for grey in range(256) for value in (255 - grey, 255 - grey, 255 - grey))
    palette = b"pclr" + struct.pack(">HB3B", 256, 3, 7, 7, 7) + entries
    mapping = b"cmap" + struct.pack(">HBBHBBHBB", 0, 1, 0, 0, 1, 1, 0, 1, 2)
    more = b"".join(struct.pack(">I", len(box) + 4) + box for box in (palette, mapping))
    at = boxes.index(b"jp2h") - 4
    length = int.from_bytes(boxes[at : at + 4])
    header = boxes[at + 4 : at + length].replace(struct.pack(">I", 17), struct.pack(">I", 16))  # sRGB, not grey
    head = struct.pack(">I", length + len(more)) + header + more
    (tmp_path / "film.jp2").write_bytes(boxes[:at] + head + boxes[at + length :])
    found = next(decode(tmp_path / "film.jp2", DecodeOptions(fast_side=100)))
    np.testing.assert_array_equal(found.pixels, 255 - np.asarray(film))


def test_deep_samples_are_decoded_in_full(tmp_path: Path) -> None:
    """Their range decides on the grey, and one pixel on their range: here the brightest of 400 × 400."""
    deep = draw(1, 400).to_uint8().astype(np.uint16) * 16
    deep[7, 9] = 65535
    Image.fromarray(deep).save(tmp_path / "film.jp2")
    found = next(decode(tmp_path / "film.jp2", DecodeOptions(fast_side=100)))
    exact = np.floor(255 * ((deep - deep.min()) / (65535 - deep.min())) + 0.5)
    np.testing.assert_array_equal(found.pixels, exact)


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
