"""Attributes that describe, written badly: the film is read without them, and numbers in European spelling are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxrzero.errors import ImageError
from tests.support.dicomfile import As, Decode, dicom_bytes

PICTURE = (np.arange(20 * 30).reshape(20, 30) * 7 % 1024).astype(np.uint16)


def as_attribute(keyword: str, value: Any) -> dict[str, Any]:
    return {keyword: value}


def film(**attributes: Any) -> bytes:
    return dicom_bytes(PICTURE, BitsStored=10, **attributes)


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [("0,143", (20, 30)), ("0,143\\0,143", (20, 30)), ("0,2\\0,1", (40, 30)), ("\\0.2\\0.1\\", (40, 30)),
     ("\\\\0,2 \\ 0,1\\", (40, 30)), (" 0.2 \\ 0.1\0", (40, 30)), ("2E-1\\1e-1", (40, 30)), ("abc", (20, 30)),
     ("abc\\def", (20, 30)), ("0.2mm\\0.1mm", (20, 30)), ("0.2,0.1", (20, 30)), ("0.2\\0.1\\0.1", (20, 30)),
     ("0.2\\\\0.1", (20, 30)), ("\\", (20, 30)), ("nan\\nan", (20, 30)), ("-0.2\\-0.1", (20, 30)),
     ("1.000,5\\1", (20, 30))],
)  # fmt: skip
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"])
def test_spacing(decoded: Decode, keyword: str, spacing: str, shape: tuple[int, int]) -> None:
    for syntax in ("explicit", "implicit"):
        (image,) = decoded(dicom_bytes(PICTURE, syntax, BitsStored=10, **as_attribute(keyword, spacing)))
        assert image.pixels.shape == shape


def test_the_next_spacing_is_used(decoded: Decode) -> None:
    (image,) = decoded(film(PixelSpacing="abc", ImagerPixelSpacing=["0.2", "0.1"]))
    assert image.pixels.shape == (40, 30)
    (step,) = (step for step in image.steps if step.name == "square_pixels")
    assert step.parameters["from"] == "ImagerPixelSpacing"
    (image,) = decoded(film(PixelSpacing="abc"))
    (step,) = (step for step in image.steps if step.name == "square_pixels")
    assert step.parameters == {"unusable": ["PixelSpacing"]}


@pytest.mark.parametrize(
    ("written", "clean"),
    [({"WindowCenter": "500,5", "WindowWidth": "300,0"}, {"WindowCenter": "500.5", "WindowWidth": "300"}),
     ({"WindowCenter": "\\500", "WindowWidth": "\\300"}, {"WindowCenter": "500", "WindowWidth": "300"}),
     ({"WindowCenter": " 500 \0", "WindowWidth": " 300"}, {"WindowCenter": "500", "WindowWidth": "300"}),
     ({"WindowCenter": "500\\", "WindowWidth": "300\\"}, {"WindowCenter": "500", "WindowWidth": "300"}),
     ({"WindowCenter": "500,5\\7", "WindowWidth": "300,25\\8"}, {"WindowCenter": "500.5", "WindowWidth": "300.25"}),
     ({"RescaleSlope": "1,5", "RescaleIntercept": "-10,25", "WindowCenter": "700", "WindowWidth": "300"},
      {"RescaleSlope": "1.5", "RescaleIntercept": "-10.25", "WindowCenter": "700", "WindowWidth": "300"}),
     ({"WindowCenter": "0,250", "WindowWidth": "300,0001"}, {"WindowCenter": "0.25", "WindowWidth": "300.0001"}),
     ({"NumberOfFrames": "1 \0"}, {}), ({"NumberOfFrames": "\\1"}, {}), ({"PhotometricInterpretation": "MONOCHROME 1"},
      {"PhotometricInterpretation": "MONOCHROME1"})],
    ids=str,
)  # fmt: skip
def test_numbers_that_decide_pixels(decoded: Decode, written: dict[str, str], clean: dict[str, str]) -> None:
    np.testing.assert_array_equal(decoded(film(**written))[0].pixels, decoded(film(**clean))[0].pixels)


@pytest.mark.parametrize(
    "attributes",
    [{"WindowCenter": "abc", "WindowWidth": "9"}, {"WindowCenter": "1,2,3", "WindowWidth": "9"},
     {"WindowCenter": "2,048", "WindowWidth": "4,096"}, {"RescaleSlope": "1", "RescaleIntercept": "-1,024"},
     {"RescaleSlope": "1.5x", "RescaleIntercept": "0"}, {"WindowCenter": "1", "WindowWidth": As("FD", b"abc ")}],
    ids=str,
)  # fmt: skip
def test_pixels_are_not_made_of_what_is_no_number(decoded: Decode, attributes: dict[str, Any]) -> None:
    """A window that cannot be read would be another window without a word."""
    with pytest.raises(ImageError, match=r"bad_header: (Window|Rescale)\w+ (is not a number|cannot be read)"):
        decoded(film(**attributes))


# Values whose VR cannot hold them: pydicom raises when they are read.
BROKEN = (As("FD", b"abc "), As("US", b"x"), As("UL", b"ab"))


@pytest.mark.parametrize("value", [*BROKEN, As("SQ", []), As("US", 7)], ids=str)
@pytest.mark.parametrize(
    "keyword",
    ["ViewPosition", "BodyPartExamined", "BurnedInAnnotation", "PresentationIntentType", "StudyInstanceUID",
     "SOPInstanceUID", "SOPClassUID", "ViewCodeSequence", "ShutterShape", "PixelAspectRatio", "VOILUTFunction"],
)  # fmt: skip
def test_a_description_that_cannot_be_read(decoded: Decode, keyword: str, value: As) -> None:
    (image,) = decoded(film(**{keyword: value}))
    np.testing.assert_array_equal(image.pixels, decoded(film())[0].pixels)
    assert image.facts.modality == "CR"


@pytest.mark.parametrize(
    "value", [As("LO", "hello"), As("UN", b"hello wo"), As("SQ", [{"CodeValue": As("FD", b"abc ")}])]
)
def test_a_view_code_that_cannot_be_read(decoded: Decode, value: As) -> None:
    assert "view_unknown" in decoded(film(ViewPosition="", ViewCodeSequence=value))[0].flags


@pytest.mark.parametrize("value", [As("DS", "abc"), As("FD", b"abc "), As("US", b"x")], ids=str)
def test_padding_that_cannot_be_read_is_none(decoded: Decode, value: As) -> None:
    np.testing.assert_array_equal(decoded(film(PixelPaddingValue=value))[0].pixels, decoded(film())[0].pixels)
