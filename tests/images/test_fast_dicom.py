"""--fast-decode in DICOM: which frames come at a fraction of their size, and what is measured in pixels follows.

The samples that JPEG 2000 must give are those of OpenJPH, for the same picture as HTJ2K: both know one lossless
transform, whose lower halves do not depend on who makes them. A sample of such a half stands on the first of the pixels
that it is made of; it is moved to their middle.
"""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest

from cxrzero.errors import ImageError
from cxrzero.images import DecodeOptions, Radiograph
from cxrzero.images.codecs import Frame, FrameShape, decode_frame
from tests.support.dicomfile import SYNTAXES, Decode, dicom_bytes, encapsulate, encode_frame

FAST = DecodeOptions(fast_side=100)
WINDOW: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "4096"}
REDUCED = ("jpeg2000_lossless", "jpeg2000", "htj2k_lossless", "htj2k_rpcl", "htj2k")


def film(rows: int, columns: int, bits: int, signed: bool = False) -> np.ndarray:
    """Smooth with a little noise, in the middle of the range, so that no decoder has to clip."""
    row, column = np.mgrid[0:rows, 0:columns]
    noise = np.random.default_rng(1).normal(0, 0.01, (rows, columns))
    values = (2**bits * (0.5 + 0.3 * np.sin(row / 40) * np.cos(column / 33) + noise)).astype(np.int64)
    return (values - 2 ** (bits - 1) * signed).astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def by_openjph(pixels: np.ndarray, halvings: int) -> np.ndarray:
    stream = imagecodecs.htj2k_encode(pixels, reversible=True)
    return centred(np.asarray(imagecodecs.htj2k_decode(stream, skipres=halvings)), 2**halvings)


def centred(halved: np.ndarray, factor: int) -> np.ndarray:
    """What stands at 0, factor, 2 factor …, in the middle of 0 to factor − 1, factor to 2 factor − 1 …"""
    further = (factor - 1) / 2 / factor
    across, down = (np.minimum(np.arange(n) + 1, n - 1) for n in halved.shape[::-1])
    values = halved + (halved[:, across] * 1.0 - halved) * further
    values += (values[down] - values) * further
    return np.floor(values + 0.5).astype(halved.dtype)


def frame_of(stream: bytes, pixels: np.ndarray, least_side: int, syntax: str = "jpeg2000_lossless") -> Frame:
    rows, columns = pixels.shape
    shape = FrameShape(rows, columns, 1, 8 * pixels.dtype.itemsize, signed=pixels.dtype.kind == "i")
    return decode_frame(stream, SYNTAXES[syntax], shape, least_side)


def is_fast(radiograph: Radiograph) -> bool:
    return "fast_decode" in [step.name for step in radiograph.steps]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [7, 8, 10, 12, 16])
def test_samples_keep_their_depth_and_sign(bits: int, signed: bool) -> None:
    pixels = film(404, 437, bits, signed)
    frame = frame_of(encode_frame(pixels, "jpeg2000_lossless", bits), pixels, 100)
    assert (frame.factor, frame.decoder, frame.samples.dtype) == (4, "pillow/JPEG2000", pixels.dtype)
    np.testing.assert_array_equal(frame.samples, by_openjph(pixels, 2))


@pytest.mark.parametrize("syntax", ["jpeg2000_lossless", "htj2k_lossless"])
@pytest.mark.parametrize(("least", "halvings"), [(50, 3), (101, 2), (202, 1)])
@pytest.mark.parametrize("size", [(405, 417), (406, 418), (407, 419), (409, 411)])
def test_sides_that_are_no_multiples_are_rounded_up(
    size: tuple[int, int], least: int, halvings: int, syntax: str
) -> None:
    pixels = film(*size, 12)
    frame = frame_of(encode_frame(pixels, syntax, 12), pixels, least, syntax)
    assert frame.factor == 2**halvings
    np.testing.assert_array_equal(frame.samples, by_openjph(pixels, halvings))


def test_tiles() -> None:
    pixels = film(500, 450, 12)
    stream = bytes(imagecodecs.htj2k_encode(pixels, reversible=True, tile=(150, 170)))
    frame = frame_of(stream, pixels, 100, "htj2k_lossless")
    assert frame.factor == 4
    np.testing.assert_array_equal(frame.samples, centred(imagecodecs.htj2k_decode(stream, skipres=2), 4))


@pytest.mark.parametrize("syntax", REDUCED)
def test_the_chain_goes_on_from_there(decoded: Decode, syntax: str) -> None:
    pixels = film(400, 440, 12)
    whole = dicom_bytes(pixels, syntax, BitsStored=12, **WINDOW)
    (found,) = decoded(whole, FAST)
    expected = np.floor(255 * np.clip((by_openjph(pixels, 2) - 2047.5) / 4095 + 0.5, 0, 1) + 0.5)  # C.11.2.1.2
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.decoder == "pillow/JPEG2000"
    assert [step.name for step in found.steps] == ["stored", "fast_decode", "stored_bits", "window"]
    assert found.steps[1].parameters == {"from_width": 440, "to_width": 110}
    (exact,) = decoded(whole)
    assert exact.pixels.shape == (400, 440)
    assert found.flags == exact.flags | {"low_resolution"}  # 224 pixels are the least that a Screener asks for


def test_baseline_jpeg(decoded: Decode) -> None:
    pixels = film(404, 437, 8)
    window: dict[str, Any] = {"WindowCenter": "128", "WindowWidth": "256"}
    (found,) = decoded(dicom_bytes(pixels, "jpeg_baseline", **window), FAST)
    assert (found.pixels.shape, found.decoder) == ((101, 110), "pillow/JPEG")
    means = pixels[:, :436].reshape(101, 4, 109, 4).mean(axis=(1, 3))
    assert np.abs(found.pixels[:, :109] - means).max() < 4


@pytest.mark.parametrize(
    ("resolutions", "factor"), [(1, 1), (2, 2), (3, 4)], ids=["no levels", "one level", "two levels"]
)
def test_a_stream_is_halved_as_often_as_it_was_written(resolutions: int, factor: int) -> None:
    pixels = film(404, 437, 12)
    stream = imagecodecs.jpeg2k_encode(
        pixels, codecformat="J2K", reversible=True, bitspersample=12, resolutions=resolutions
    )
    frame = frame_of(bytes(stream), pixels, 50)
    assert frame.factor == factor
    np.testing.assert_array_equal(frame.samples, by_openjph(pixels, factor.bit_length() - 1))


def with_siz(stream: bytes, at: int, number: str, *values: int) -> bytes:
    """The stream with some of SIZ (ISO/IEC 15444-1, A.5.1) overwritten; its marker is at 2."""
    changed = bytearray(stream)
    struct.pack_into(number, changed, 4 + at, *values)
    return bytes(changed)


def test_a_picture_that_begins_inside_of_its_grid_is_decoded_in_full() -> None:
    """Its halves would begin between those of others. All moved by 32, the data stay as they are."""
    pixels = film(400, 440, 12)
    stream = encode_frame(pixels, "jpeg2000_lossless", 12)
    right, bottom = struct.unpack_from(">2I", stream, 8)
    moved = with_siz(stream, 4, ">8I", right + 32, bottom + 32, 32, 32, right + 32, bottom + 32, 0, 0)
    frame = frame_of(moved, pixels, 100)
    assert (frame.factor, frame.samples.shape) == (1, (400, 440))


def test_a_jp2_header_of_another_depth_is_not_believed() -> None:
    """Pillow would drop the bits that do not fit."""
    pixels = film(400, 440, 12)
    boxed = bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="JP2", reversible=True, bitspersample=12))
    np.testing.assert_array_equal(frame_of(boxed, pixels, 100).samples, by_openjph(pixels, 2))
    at = boxed.index(b"ihdr") + 4 + 4 + 4 + 2
    lying = boxed[:at] + bytes([7]) + boxed[at + 1 :]
    frame = frame_of(lying, pixels, 100)
    assert (frame.factor, frame.decoder) == (1, "imagecodecs/jpeg2k")
    np.testing.assert_array_equal(frame.samples, pixels)


IN_FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "the range of the pixels decides": ("jpeg2000_lossless", {}),
    "a window without its width": ("jpeg2000_lossless", {"WindowCenter": "2048"}),
    "padding": ("jpeg2000_lossless", {**WINDOW, "PixelPaddingValue": 0}),
    "a sign in a stream without": ("htj2k_lossless", {**WINDOW, "PixelRepresentation": 1}),
    "JPEG of 12 bits": ("jpeg_extended", WINDOW),
    "lossless JPEG": ("jpeg_lossless_sv1", WINDOW),
    "JPEG-LS": ("jpegls", WINDOW),
    "RLE": ("rle", WINDOW),
    "not compressed": ("explicit", WINDOW),
}


@pytest.mark.parametrize("case", IN_FULL)
def test_decoded_in_full(decoded: Decode, case: str) -> None:
    syntax, header = IN_FULL[case]
    content = dicom_bytes(film(400, 440, 12), syntax, BitsStored=12, **header)
    (found,), (exact,) = decoded(content, FAST), decoded(content)
    np.testing.assert_array_equal(found.pixels, exact.pixels)
    assert found.steps == exact.steps
    assert found.pixels.shape == (400, 440)


def test_a_voi_lut_is_as_good_as_a_window(decoded: Decode) -> None:
    entries = (np.arange(4096) // 16).astype("<u2")
    table = {"LUTDescriptor": struct.pack("<3H", 4096, 0, 8), "LUTData": entries.tobytes()}
    (found,) = decoded(dicom_bytes(film(400, 440, 12), "jpeg2000", BitsStored=12, VOILUTSequence=[table]), FAST)
    np.testing.assert_array_equal(found.pixels, by_openjph(film(400, 440, 12), 2) // 16)


def test_several_frames_are_decoded_in_full(decoded: Decode) -> None:
    pixels = film(400, 440, 12)
    found = decoded(dicom_bytes([pixels, pixels[::-1].copy()], "jpeg2000", BitsStored=12, **WINDOW), FAST)
    assert [frame.pixels.shape for frame in found] == [(400, 440)] * 2


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_colours_are_decoded_in_full(decoded: Decode, photometric: str) -> None:
    pixels = film(400, 440, 8)
    if photometric == "RGB":
        colours = np.stack([pixels] * 3, -1)
        content = dicom_bytes(colours, "jpeg2000", PhotometricInterpretation="RGB", SamplesPerPixel=3)
    else:
        parts = {
            "Descriptor": struct.pack("<3H", 256, 0, 16),
            "Data": (np.arange(256)[::-1] * 257).astype("<u2").tobytes(),
        }
        palette: dict[str, Any] = {
            f"{colour}PaletteColorLookupTable{part}": value
            for colour in ("Red", "Green", "Blue")
            for part, value in parts.items()
        }
        content = dicom_bytes(pixels, "jpeg2000", PhotometricInterpretation=photometric, **palette)
    (found,) = decoded(content, FAST)
    np.testing.assert_array_equal(found.pixels, pixels if photometric == "RGB" else 255 - pixels)


def test_a_shutter_and_the_shape_of_pixels_follow(decoded: Decode) -> None:
    """Columns 101 to 300 and rows 41 to 360 are open (counted from 1); rows lie twice as far apart as columns."""
    shutter: dict[str, Any] = {
        "ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": "101", "ShutterRightVerticalEdge": "300",
        "ShutterUpperHorizontalEdge": "41", "ShutterLowerHorizontalEdge": "360",
    }  # fmt: skip
    flat = np.full((400, 440), 2048, np.uint16)
    (found,) = decoded(dicom_bytes(flat, "jpeg2000", BitsStored=12, **WINDOW, **shutter), FAST)
    expected = np.zeros((100, 110), np.uint8)
    expected[10:90, 25:75] = 128
    np.testing.assert_array_equal(found.pixels, expected)
    tall = dicom_bytes(flat, "jpeg2000", BitsStored=12, PixelSpacing=["0.4", "0.2"], **WINDOW, **shutter)
    (found,) = decoded(tall, FAST)
    assert found.pixels.shape == (200, 110)
    np.testing.assert_array_equal(found.pixels[::2][11:89], expected[11:89])


@pytest.mark.parametrize("syntax", ["jpeg2000_lossless", "htj2k_lossless", "jpeg_baseline"])
def test_a_stream_that_is_cut_is_an_error_as_ever(decoded: Decode, syntax: str) -> None:
    bits = 8 if syntax == "jpeg_baseline" else 12
    stream = encode_frame(film(400, 440, bits), syntax, bits)
    header = {"Rows": 400, "Columns": 440, "BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits,
              "HighBit": bits - 1, "PixelRepresentation": 0, **WINDOW}  # fmt: skip
    content = dicom_bytes(encapsulate([stream[: len(stream) // 2]]), syntax, **header)
    with pytest.raises(ImageError, match="end marker") as caught:
        decoded(content, FAST)
    assert caught.value.code == "truncated"
