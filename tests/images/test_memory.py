"""Pictures in memory give what files of them give."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxrzero.choices import Invert
from cxrzero.errors import ImageError
from cxrzero.images import DecodeOptions, decode, decode_content
from cxrzero.images.memory import decode_array, decode_dataset, decode_pillow, written
from cxrzero.images.radiograph import Radiograph
from tests.images.test_pydicom_files import files
from tests.support.dicomfile import LOSSLESS, dicom_bytes
from tests.support.pictures import picture


def same(one: Radiograph, other: Radiograph) -> bool:
    return np.array_equal(one.pixels, other.pixels) and (one.flags, one.facts) == (other.flags, other.facts)


def sixteen_bits() -> np.ndarray:
    return picture(3).astype(np.uint16) * 200 + 700


@pytest.mark.parametrize(
    "samples",
    [picture(1), np.dstack([picture(1), picture(2), picture(3)]), sixteen_bits(), sixteen_bits().astype(">u2")],
    ids=["grey", "colour", "deep", "other byte order"],
)
@pytest.mark.parametrize("invert", ["auto", "yes"])
def test_an_array_is_its_png(samples: np.ndarray, invert: Invert, tmp_path: Path) -> None:
    options = DecodeOptions(invert=invert)
    native = samples.astype(samples.dtype.newbyteorder("="))
    Image.fromarray(native).save(tmp_path / "a.png")
    [of_file] = decode(tmp_path / "a.png", options)
    assert same(decode_array(samples, None, options), of_file)
    assert same(decode_array(samples[::-1][::-1], None, options), of_file)  # in whatever order it lies in memory


def test_floats_are_the_levels_between_black_and_white() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in (np.float16, np.float32, np.float64):
        found = decode_array(levels.astype(kind), (0, 255))
        assert np.array_equal(found.pixels, levels), kind
    assert np.array_equal(decode_array(levels / 255, (0, 1)).pixels, levels)
    assert np.array_equal(decode_array(levels / 127.5 - 1, (-1, 1)).pixels, levels)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.array([[0.0, np.nan]]), "corrupt_image"),
        (np.array([[0.0, np.inf]]), "corrupt_image"),
        (np.array([[0.0, 1.5]]), "out_of_range"),
        (np.array([[-0.1, 1.0]]), "out_of_range"),
        (np.zeros((0, 4)), "no_pixel_data"),
    ],
)
def test_floats_that_are_no_picture(values: np.ndarray, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_array(values, (0.0, 1.0))
    assert caught.value.code == code


def test_more_pixels_than_allowed() -> None:
    with pytest.raises(ImageError) as caught:
        decode_array(picture(1), None, DecodeOptions(max_pixels=100))
    assert caught.value.code == "too_many_pixels"
    with pytest.raises(ImageError) as caught:
        decode_pillow(Image.fromarray(picture(1)), DecodeOptions(max_pixels=100))
    assert caught.value.code == "too_many_pixels"


def pillow_files(folder: Path) -> list[Path]:
    grey = Image.fromarray(picture(1))
    colour = Image.fromarray(np.dstack([picture(1), picture(2), picture(3)]))
    seen = Image.fromarray(np.dstack([picture(1), picture(2), picture(3), picture(4)]))
    turned = Image.Exif()
    turned[274] = 6
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey.png": (grey, {}),
        "colour.png": (colour, {}),
        "opacity.png": (seen, {}),
        "grey_opacity.png": (seen.convert("LA"), {}),
        "palette.png": (colour.quantize(17), {}),
        "two.png": (grey.convert("1"), {}),
        "deep.png": (Image.fromarray(sixteen_bits()), {}),
        "grey.jpg": (grey, {}),
        "turned.jpg": (colour, {"exif": turned}),
        "turned.tiff": (grey, {"exif": turned}),
        "plain.tiff": (colour, {}),
        "deep.tiff": (Image.fromarray(sixteen_bits()), {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "a.webp": (colour, {"lossless": True}),
        "a.bmp": (grey, {}),
        "a.gif": (grey, {}),
    }
    for name, (image, how) in files.items():
        image.save(folder / name, **how)
    return [folder / name for name in files]


def test_a_pillow_image_is_its_file(tmp_path: Path) -> None:
    for path in pillow_files(tmp_path):
        [of_file] = decode(path)
        with Image.open(path) as opened:
            assert same(decode_pillow(opened), of_file), path.name
        with Image.open(io.BytesIO(path.read_bytes())) as opened:
            assert same(decode_pillow(opened), of_file), path.name
        if path.name != "turned.tiff":  # which Pillow 13.0 maps into memory as if it were not turned
            with Image.open(path) as opened:
                opened.load()
                assert same(decode_pillow(opened), of_file), path.name


def test_a_closed_pillow_image(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(ImageError, match="closed"):
        decode_pillow(image)
    cut = Image.open(io.BytesIO((tmp_path / "a.png").read_bytes()[:300]))
    with pytest.raises(ImageError) as caught:
        decode_pillow(cut)
    assert caught.value.code == "corrupt_image"


def read(content: bytes, *, is_looked_at: bool) -> pydicom.Dataset:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if is_looked_at:
        assert str(dataset)  # reads every element
    return dataset


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("is_looked_at", [False, True], ids=["as read", "looked at"])
def test_a_dataset_is_its_file(syntax: str, is_looked_at: bool) -> None:
    frames = [picture(1).astype(np.uint16) * 9, picture(2).astype(np.uint16) * 9]
    content = dicom_bytes(frames, syntax, BitsStored=12)
    dataset = read(content, is_looked_at=is_looked_at)
    found, expected = list(decode_dataset(dataset)), list(decode_content(content))
    assert len(found) == len(expected) == 2
    assert all(map(same, found, expected))


@pytest.mark.parametrize("syntax", ["implicit", "explicit"])
def test_a_dataset_without_file_meta_information(syntax: str) -> None:
    content = dicom_bytes(picture(1), syntax)
    [expected] = decode_content(content)
    dataset = read(content, is_looked_at=False)
    del dataset.file_meta
    [found] = decode_dataset(dataset)
    assert same(found, expected)


def test_a_dataset_that_was_made_in_memory() -> None:
    dataset = pydicom.Dataset()
    dataset.Modality, dataset.PatientName = "DX", "SECRET^PATIENT"
    dataset.Rows, dataset.Columns = 40, 32
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = picture(5).tobytes()
    [found] = decode_dataset(dataset)
    [expected] = decode_content(dicom_bytes(picture(5), PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(found.pixels, expected.pixels)
    assert b"SECRET" not in written(dataset)
    del dataset.PixelData
    with pytest.raises(ImageError) as caught:
        list(decode_dataset(dataset))
    assert caught.value.code == "no_pixel_data"


def test_every_dataset_of_pydicom() -> None:
    count = 0
    for path in files():
        if path.name.startswith("DICOMDIR"):
            continue
        content = path.read_bytes()
        try:
            expected = list(decode_content(content))
        except ImageError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydicom, of what is wrong with its own test files
            dataset = read(content, is_looked_at=False)
        assert all(map(same, decode_dataset(dataset), expected)), path.name
        count += 1
    assert count > 25


def test_a_dataset_that_cannot_be_written() -> None:
    dataset = read(dicom_bytes(picture(1)), is_looked_at=True)
    dataset["Rows"]._value = "SECRET"
    with pytest.raises(ImageError) as caught:
        list(decode_dataset(dataset))
    assert caught.value.code == "bad_header"
    assert "SECRET" not in str(caught.value)
