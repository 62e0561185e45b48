"""Display shutters and functional groups: what they cover, and what they say of a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxrzero.images import DecodeOptions
from tests.images.test_golden_layout import by_range
from tests.support.dicomfile import SECONDARY_CAPTURE, Decode, dicom_bytes

ROWS, COLUMNS = 40, 30
# The film proper is 1000 to 2198; the rim is collimated (0) or burned in (4095).
PICTURE = (1000 + np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 2 % 1200).astype(np.uint16)

ROW, COLUMN = np.mgrid[1 : ROWS + 1, 1 : COLUMNS + 1]
RECTANGLE: dict[str, Any] = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": "4",
    "ShutterRightVerticalEdge": "27",
    "ShutterUpperHorizontalEdge": "6",
    "ShutterLowerHorizontalEdge": "35",
}
IN_RECTANGLE = (COLUMN >= 4) & (COLUMN <= 27) & (ROW >= 6) & (ROW <= 35)
CIRCLE: dict[str, Any] = {
    "ShutterShape": "CIRCULAR",
    "CenterOfCircularShutter": ["20", "15"],
    "RadiusOfCircularShutter": "12",
}
IN_CIRCLE = (ROW - 20) ** 2 + (COLUMN - 15) ** 2 <= 12**2
# A triangle with a horizontal base: row + column ≥ 20 to the left of column 15, and its mirror image.
TRIANGLE: dict[str, Any] = {
    "ShutterShape": "POLYGONAL",
    "VerticesOfThePolygonalShutter": ["5", "15", "18", "2", "18", "28"],
}
IN_TRIANGLE = (ROW <= 18) & (abs(COLUMN - 15) <= ROW - 5)

SHUTTERS: dict[str, tuple[dict[str, Any], np.ndarray]] = {
    "rectangular": (RECTANGLE, IN_RECTANGLE),
    "circular": (CIRCLE, IN_CIRCLE),
    "polygonal": (TRIANGLE, IN_TRIANGLE),
    "two": ({**CIRCLE, **RECTANGLE, "ShutterShape": ["RECTANGULAR", "CIRCULAR"]}, IN_RECTANGLE & IN_CIRCLE),
    "three": ({**CIRCLE, **RECTANGLE, **TRIANGLE, "ShutterShape": ["CIRCULAR", "POLYGONAL", "RECTANGULAR"]},
              IN_RECTANGLE & IN_CIRCLE & IN_TRIANGLE),
    "lower case": ({**RECTANGLE, "ShutterShape": "rectangular"}, IN_RECTANGLE),
    "beyond the picture": ({**RECTANGLE, "ShutterLeftVerticalEdge": "-5", "ShutterLowerHorizontalEdge": "900"},
                           (COLUMN <= 27) & (ROW >= 6)),
}  # fmt: skip


def film(visible: np.ndarray, rim: int = 4095) -> np.ndarray:
    return np.where(visible, PICTURE, rim).astype(np.uint16)


@pytest.mark.parametrize("name", SHUTTERS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("presentation", [None, 0, 65535])
def test_what_is_covered_is_black_and_outside_of_the_range(
    decoded: Decode, name: str, photometric: str, presentation: int | None
) -> None:
    """Black in upright grey for both interpretations, whatever colour a display is to fill the rim with."""
    attributes, visible = SHUTTERS[name]
    (image,) = decoded(dicom_bytes(film(visible), BitsStored=12, PhotometricInterpretation=photometric,
                                   ShutterPresentationValue=presentation, **attributes))  # fmt: skip
    values = film(visible).astype(int)
    if photometric == "MONOCHROME1":
        values = values[visible].max() + values[visible].min() - values
    wanted = by_range(values, visible)
    wanted[~visible] = 0
    np.testing.assert_array_equal(image.pixels, wanted)
    (step,) = (step for step in image.steps if step.name == "shutter")
    assert len(step.parameters["shapes"]) == len(np.atleast_1d(attributes["ShutterShape"]))


def test_a_level_that_is_seen_and_covered_counts(decoded: Decode) -> None:
    rim = int(PICTURE[IN_RECTANGLE].max())
    (image,) = decoded(dicom_bytes(film(IN_RECTANGLE, rim), BitsStored=12, **RECTANGLE))
    wanted = by_range(PICTURE.astype(int), IN_RECTANGLE)
    wanted[~IN_RECTANGLE] = 0
    np.testing.assert_array_equal(image.pixels, wanted)


def test_a_window_and_an_inversion_by_hand(decoded: Decode) -> None:
    content = dicom_bytes(film(IN_CIRCLE), BitsStored=12, WindowCenter="1600", WindowWidth="1200", **CIRCLE)
    plain = dicom_bytes(film(IN_CIRCLE), BitsStored=12, WindowCenter="1600", WindowWidth="1200")
    invert: Any
    for invert in ("yes", "no"):
        options = DecodeOptions(invert=invert)
        wanted = np.where(IN_CIRCLE, decoded(plain, options)[0].pixels, 0)
        np.testing.assert_array_equal(decoded(content, options)[0].pixels, wanted)


def test_a_circle_in_pixels_that_are_not_square(decoded: Decode) -> None:
    """The radius counts pixels along a row; rows lie twice as far apart, so it spans half as many."""
    (image,) = decoded(dicom_bytes(np.full((40, 30), 9, np.uint16), BitsStored=12, PixelSpacing=["0.2", "0.1"],
                                   WindowCenter="1", WindowWidth="2", **CIRCLE))  # fmt: skip
    rows, columns = (image.pixels > 127).any(axis=1).sum(), (image.pixels > 127).any(axis=0).sum()
    assert image.pixels.shape == (80, 30)
    assert columns == 25
    assert abs(rows - 26) <= 1


def test_colour(decoded: Decode) -> None:
    rgb = np.full((ROWS, COLUMNS, 3), 200, np.uint8)
    (image,) = decoded(dicom_bytes(rgb, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
                                   SOPClassUID=SECONDARY_CAPTURE, Modality="OT", **RECTANGLE))  # fmt: skip
    np.testing.assert_array_equal(image.pixels, IN_RECTANGLE * 200)


@pytest.mark.parametrize(
    "attributes",
    [{"ShutterShape": "RECTANGULAR"}, RECTANGLE | {"ShutterLeftVerticalEdge": "left"},
     RECTANGLE | {"ShutterRightVerticalEdge": ""}, RECTANGLE | {"ShutterRightVerticalEdge": "0"},
     RECTANGLE | dict.fromkeys(list(RECTANGLE)[1:], "0"), CIRCLE | {"RadiusOfCircularShutter": None},
     CIRCLE | {"CenterOfCircularShutter": ["900", "900"]}, {"ShutterShape": "BITMAP"},
     TRIANGLE | {"VerticesOfThePolygonalShutter": ["5", "15", "18", "2"]},
     TRIANGLE | {"VerticesOfThePolygonalShutter": ["5", "15", "18", "2", "18", "28", "7"]}],
    ids=str,
)  # fmt: skip
def test_a_shutter_that_cannot_be_is_told_and_not_applied(decoded: Decode, attributes: dict[str, Any]) -> None:
    (image,) = decoded(dicom_bytes(PICTURE, BitsStored=12, **attributes))
    np.testing.assert_array_equal(image.pixels, by_range(PICTURE.astype(int)))
    (step,) = (step for step in image.steps if step.name == "shutter")
    assert step.parameters == {"unusable": [attributes["ShutterShape"]]}


def test_a_shutter_around_the_whole_picture_is_no_step(decoded: Decode) -> None:
    whole: dict[str, Any] = RECTANGLE | {"ShutterLeftVerticalEdge": "1", "ShutterRightVerticalEdge": "30",
                         "ShutterUpperHorizontalEdge": "0", "ShutterLowerHorizontalEdge": "41"}  # fmt: skip
    (image,) = decoded(dicom_bytes(PICTURE, BitsStored=12, **whole))
    assert "shutter" not in {step.name for step in image.steps}


# ---- functional groups ------------------------------------------------------------------------------------------

FRAMES = [PICTURE, PICTURE[::-1].copy()]


def windowed(center: int, width: int) -> dict[str, Any]:
    return {"FrameVOILUTSequence": [{"WindowCenter": str(center), "WindowWidth": str(width)}]}


def plain(decoded: Decode, frame: np.ndarray, **attributes: Any) -> np.ndarray:
    return decoded(dicom_bytes(frame, BitsStored=12, **attributes))[0].pixels


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpegls"])
def test_windows_of_frames(decoded: Decode, syntax: str) -> None:
    """A frame's own window goes before the shared one, and both before that of the header's top."""
    windows: list[dict[str, Any]]
    windows = [{"WindowCenter": c, "WindowWidth": w} for c, w in (("1500", "400"), ("1700", "900"), ("9", "9"))]
    one, other, top = windows
    shared: dict[str, Any] = {"SharedFunctionalGroupsSequence": [windowed(1500, 400)]}
    images = decoded(dicom_bytes(FRAMES, syntax, BitsStored=12, **top, **shared))
    for image, frame in zip(images, FRAMES, strict=True):
        np.testing.assert_array_equal(image.pixels, plain(decoded, frame, **one))
    per_frame: dict[str, Any] = {"PerFrameFunctionalGroupsSequence": [{}, windowed(1700, 900)]}
    images = decoded(dicom_bytes(FRAMES, syntax, BitsStored=12, **top, **shared, **per_frame))
    np.testing.assert_array_equal(images[0].pixels, plain(decoded, FRAMES[0], **one))
    np.testing.assert_array_equal(images[1].pixels, plain(decoded, FRAMES[1], **other))


def test_the_other_macros(decoded: Decode) -> None:
    lut = {"LUTDescriptor": [3000, 0, 12], "LUTData": [4095 - i for i in range(3000)]}
    macros: dict[str, Any] = {
        "PixelValueTransformationSequence": [{"RescaleSlope": "2", "RescaleIntercept": "-500"}],
        "FrameVOILUTSequence": [{"WindowCenter": "2500", "WindowWidth": "1500", "VOILUTFunction": "SIGMOID"}],
        "PixelMeasuresSequence": [{"PixelSpacing": ["0.2", "0.1"]}],
        "FrameDisplayShutterSequence": [RECTANGLE],
    }
    flat = {k: v for items in macros.values() for k, v in items[0].items()}
    for groups, attributes in ((macros, flat), ({"FrameVOILUTSequence": [{"VOILUTSequence": [lut]}]},
                                                {"VOILUTSequence": [lut]})):  # fmt: skip
        (image,) = decoded(dicom_bytes(PICTURE, BitsStored=12, SharedFunctionalGroupsSequence=[groups]))
        np.testing.assert_array_equal(image.pixels, plain(decoded, PICTURE, **attributes))


def test_a_macro_that_a_frame_states_replaces_all_that_others_state_of_it(decoded: Decode) -> None:
    """A frame's window beside a lookup table, a rescale beside one, a shutter's shape beside another, at the top."""
    lut = {"LUTDescriptor": [3000, 0, 12], "LUTData": [4095 - i for i in range(3000)]}
    window, rescale = windowed(1500, 400), {"RescaleSlope": "2", "RescaleIntercept": "-500"}
    top: dict[str, Any] = {"VOILUTSequence": [lut], "ModalityLUTSequence": [lut], "ShutterShape": "CIRCULAR",
                           "CenterOfCircularShutter": ["9", "9"], "RadiusOfCircularShutter": "3"}  # fmt: skip
    own: dict[str, Any] = {**window, "PixelValueTransformationSequence": [rescale],
                           "FrameDisplayShutterSequence": [RECTANGLE]}  # fmt: skip
    shared = {"FrameVOILUTSequence": [{"VOILUTSequence": [lut]}]}
    wanted = plain(decoded, PICTURE, WindowCenter="1500", WindowWidth="400", **rescale, **RECTANGLE)
    stated: list[dict[str, Any]] = [
        {"SharedFunctionalGroupsSequence": [own]},
        {"PerFrameFunctionalGroupsSequence": [own]},
        {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [own]},
    ]
    for groups in stated:
        (image,) = decoded(dicom_bytes(PICTURE, BitsStored=12, **top, **groups))
        np.testing.assert_array_equal(image.pixels, wanted)


def test_groups_that_say_nothing_of_pixels(decoded: Decode) -> None:
    groups: dict[str, Any] = {
        "SharedFunctionalGroupsSequence": [{"FrameVOILUTSequence": []}],
        "PerFrameFunctionalGroupsSequence": [],
    }
    (image,) = decoded(dicom_bytes(PICTURE, BitsStored=12, WindowCenter="1500", WindowWidth="400", **groups))
    np.testing.assert_array_equal(image.pixels, plain(decoded, PICTURE, WindowCenter="1500", WindowWidth="400"))
