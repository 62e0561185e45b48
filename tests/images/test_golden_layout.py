"""How samples are laid out in a file, colour, padding and aspect: pixels against what the standard says of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cxrzero.images import DecodeOptions
from tests.support.dicomfile import NATIVE, SECONDARY_CAPTURE, As, Decode, dicom_bytes, encapsulate, encode_frame

RAMP = (np.arange(20 * 30, dtype=np.uint16) * 7 % 1024).reshape(20, 30)


def by_range(stored: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """No VOI: the range of the valid pixels becomes 0 to 255, halves rounded up."""
    values = stored if valid is None else stored[valid]
    low, high = int(values.min()), int(values.max())
    grey = [math.floor(255 * min(max((int(v) - low) / (high - low), 0), 1) + 0.5) for v in stored.ravel()]
    return np.array(grey, np.uint8).reshape(stored.shape)


# ---- bits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [*NATIVE, "rle"])
@pytest.mark.parametrize("high_bit", [9, 11, 12, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_stored_bits_anywhere_in_the_word(decoded: Decode, syntax: str, high_bit: int, signed: bool) -> None:
    shift = high_bit - 9
    rubbish = np.uint16(0xFFFF & ~(0x3FF << shift)) * (RAMP % 2)  # overlay bits, above and below
    raw = (RAMP << shift) | rubbish
    (image,) = decoded(dicom_bytes(raw, syntax, BitsStored=10, HighBit=high_bit, PixelRepresentation=int(signed)))
    stored = RAMP.astype(int) - 1024 * (RAMP >= 512) if signed else RAMP
    np.testing.assert_array_equal(image.pixels, by_range(stored))


@pytest.mark.parametrize("syntax", [*NATIVE, "rle"])
@pytest.mark.parametrize("signed", [False, True])
def test_32_bits(decoded: Decode, syntax: str, signed: bool) -> None:
    stored = (RAMP.astype(np.int64) * 3_000_000 - signed * 2**31).astype("i4" if signed else "u4")
    (image,) = decoded(dicom_bytes(stored, syntax))
    np.testing.assert_array_equal(image.pixels, by_range(stored.astype(np.int64)))


@pytest.mark.parametrize("syntax", NATIVE)
def test_one_bit(decoded: Decode, syntax: str) -> None:
    frames = (np.arange(2 * 7 * 5) % 3 == 0).reshape(2, 7, 5)
    data = np.packbits(frames.ravel(), bitorder="little").tobytes()
    images = decoded(
        dicom_bytes(data, syntax, Rows=7, Columns=5, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0,
                    NumberOfFrames=2, pixel_vr="OB")
    )  # fmt: skip
    np.testing.assert_array_equal(np.stack([i.pixels for i in images]), frames * 255)


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 3)])
def test_big_endian_bytes_in_words(decoded: Decode, vr: str, shape: tuple[int, int]) -> None:
    stored = (np.arange(shape[0] * shape[1]) * 5).astype(np.uint8).reshape(shape)
    (image,) = decoded(dicom_bytes(stored, "big_endian", pixel_vr=vr))
    np.testing.assert_array_equal(image.pixels, by_range(stored))


@pytest.mark.parametrize("syntax", ["jpeg2000_lossless", "htj2k_lossless"])
def test_code_stream_and_header_differ_on_the_sign(decoded: Decode, syntax: str) -> None:
    """The header decides: the bits are the same two's complement (PS3.5, 8.2.4)."""
    stored = RAMP.astype(np.int16) - 400
    raw = stored.view(np.uint16) & 0xFFFF
    content = dicom_bytes(
        encapsulate([encode_frame(raw, syntax, 16)]), syntax, Rows=20, Columns=30, BitsAllocated=16, BitsStored=16,
        HighBit=15, PixelRepresentation=1,
    )  # fmt: skip
    np.testing.assert_array_equal(decoded(content)[0].pixels, by_range(stored))


# ---- encodings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "bits", "tolerance"),
    [("jpeg_baseline", 8, 2), ("jpeg_extended", 8, 2), ("jpeg_extended", 12, 2), ("jpegls_near", 8, 1),
     ("jpegls_near", 12, 1), ("jpeg2000", 12, 0), ("htj2k", 12, 0)],
)  # fmt: skip
def test_lossy_encodings(decoded: Decode, syntax: str, bits: int, tolerance: int) -> None:
    """A smooth picture survives compression; the window is the identity, so levels can be compared."""
    y, x = np.mgrid[0:64, 0:48]
    stored = ((x * 1.5 + y * 2) * (2**bits - 1) / 200).clip(0, 2**bits - 1).astype("u1" if bits == 8 else "u2")
    content = dicom_bytes(stored, syntax, BitsStored=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    (image,) = decoded(content)
    wanted = np.floor(stored * (255 / (2**bits - 1)) + 0.5)
    assert np.abs(image.pixels.astype(int) - wanted).max() <= tolerance


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian"])
def test_no_preamble(decoded: Decode, syntax: str) -> None:
    (image,) = decoded(dicom_bytes(RAMP, syntax, preamble=False))
    np.testing.assert_array_equal(image.pixels, by_range(RAMP))


@pytest.mark.parametrize("syntax", ["explicit", "deflated", "rle", "jpegls", "jpeg_lossless_sv1", "jpeg2000_lossless"])
def test_a_row_per_frame(decoded: Decode, syntax: str) -> None:
    frames = [RAMP, RAMP[::-1], RAMP[:, ::-1].copy()]
    images = decoded(dicom_bytes(frames, syntax, BitsStored=10))
    assert [(i.frame, i.n_frames) for i in images] == [(1, 3), (2, 3), (3, 3)]
    for image, frame in zip(images, frames, strict=True):
        np.testing.assert_array_equal(image.pixels, by_range(frame))
        assert "multi_frame" in image.flags


def test_frames_in_several_fragments(decoded: Decode) -> None:
    """One frame may be cut into many fragments (PS3.5, A.4)."""
    stream = encode_frame(RAMP, "jpeg2000_lossless", 16)
    parts = [stream[i : i + 100] for i in range(0, len(stream), 100)]
    content = dicom_bytes(
        encapsulate(parts), "jpeg2000_lossless", Rows=20, Columns=30, BitsAllocated=16, BitsStored=16, HighBit=15,
        PixelRepresentation=0,
    )  # fmt: skip
    np.testing.assert_array_equal(decoded(content)[0].pixels, by_range(RAMP))


# ---- lookup tables ----------------------------------------------------------------------------------------------


def test_lut_of_65536_entries(decoded: Decode) -> None:
    table = (np.arange(65536)[::-1]).astype("<u2")
    item = {"LUTDescriptor": [0, 0, 16], "LUTData": As("OW", table.tobytes())}
    stored = RAMP * 64
    (image,) = decoded(dicom_bytes(stored, VOILUTSequence=[item]))
    wanted = [math.floor(255 * (65535 - int(v)) / 65535 + 0.5) for v in stored.ravel()]
    np.testing.assert_array_equal(image.pixels.ravel(), wanted)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian"])
@pytest.mark.parametrize("entries", [200, 201])
@pytest.mark.parametrize("storage", ["packed bytes", "bytes in words", "US"])
def test_lut_of_8_bits(decoded: Decode, syntax: str, entries: int, storage: str) -> None:
    table = [(i * 37) % 256 for i in range(entries)]
    order = ">" if syntax == "big_endian" else "<"
    data: Any = As("US", table)
    if storage == "packed bytes":
        packed = bytes(table) + b"\0" * (entries % 2)
        # OW: the words of a big endian file are swapped (PS3.5, 7.3)
        data = As("OW", np.frombuffer(packed, "<u2").astype(f"{order}u2").tobytes())
    elif storage == "bytes in words":
        data = As("OW", np.array(table, f"{order}u2").tobytes())
    item = {"LUTDescriptor": [entries, 20, 8], "LUTData": data}
    (image,) = decoded(dicom_bytes(RAMP // 4, syntax, BitsStored=12, VOILUTSequence=[item]))
    wanted = [table[min(max(int(v) - 20, 0), entries - 1)] for v in (RAMP // 4).ravel()]
    np.testing.assert_array_equal(image.pixels.ravel(), wanted)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_first_mapped_value_is_negative(decoded: Decode, vr: str) -> None:
    """The descriptor's second number has the sign of the pixels (C.11.1.1), whatever VR the file writes."""
    stored = RAMP.astype(np.int16) - 500
    first = -300
    descriptor = [600, first % 65536 if vr == "US" else first, 16]
    item = {"LUTDescriptor": As(vr, descriptor), "LUTData": [i * 100 for i in range(600)]}
    (image,) = decoded(dicom_bytes(stored, ModalityLUTSequence=[item]))
    mapped = np.array([100 * min(max(int(v) - first, 0), 599) for v in stored.ravel()]).reshape(stored.shape)
    np.testing.assert_array_equal(image.pixels, by_range(mapped))


def test_first_mapped_value_after_a_rescale_to_negative_values(decoded: Decode) -> None:
    item = {"LUTDescriptor": [600, (-300) % 65536, 16], "LUTData": [i * 100 for i in range(600)]}
    (image,) = decoded(dicom_bytes(RAMP, RescaleSlope="1", RescaleIntercept="-500", VOILUTSequence=[item]))
    wanted = [math.floor(255 * 100 * min(max(int(v) - 500 + 300, 0), 599) / 65535 + 0.5) for v in RAMP.ravel()]
    np.testing.assert_array_equal(image.pixels.ravel(), wanted)


# ---- window -----------------------------------------------------------------------------------------------------


def test_linear_window_of_width_1_is_a_step(decoded: Decode) -> None:
    (image,) = decoded(dicom_bytes(RAMP, WindowCenter="500", WindowWidth="1"))
    np.testing.assert_array_equal(image.pixels, (RAMP > 499.5) * 255)


def test_a_window_that_is_stated_empty_is_none(decoded: Decode) -> None:
    (image,) = decoded(dicom_bytes(RAMP, WindowCenter="", WindowWidth=""))
    np.testing.assert_array_equal(image.pixels, by_range(RAMP))


# ---- inversion --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("invert", "photometric", "inverted"), [
    ("auto", "MONOCHROME1", True), ("auto", "MONOCHROME2", False), ("yes", "MONOCHROME1", True),
    ("yes", "MONOCHROME2", True), ("no", "MONOCHROME1", False), ("no", "MONOCHROME2", False),
])  # fmt: skip
@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
def test_inverted_once(decoded: Decode, invert: Any, photometric: str, inverted: bool, shape: str | None) -> None:
    """Presentation LUT Shape repeats what MONOCHROME1 says (PS3.3, C.8.11.3.1.2): it never inverts again."""
    content = dicom_bytes(RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    (image,) = decoded(content, DecodeOptions(invert=invert))
    stored = RAMP.astype(int)
    np.testing.assert_array_equal(image.pixels, by_range(1023 - stored if inverted else stored))


# ---- padding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("signed", "value", "limit", "padded"),
    [(False, 65000, None, [65000]), (False, 64000, 65535, [64000, 65000, 65535]),
     (False, 65535, 64000, [64000, 65000, 65535]), (True, -2000, None, [-2000]), (True, -2000, -1990, [-2000, -1995]),
     (False, As("SS", -536), None, [65000]), (True, As("US", 63536), None, [-2000])],
)  # fmt: skip
def test_padding_is_black_and_outside_of_the_range(
    decoded: Decode, photometric: str, signed: bool, value: Any, limit: int | None, padded: list[int]
) -> None:
    stored = RAMP.astype(np.int16 if signed else np.uint16)
    stored[0, : len(padded) * 2] = padded * 2
    content = dicom_bytes(
        stored, PixelPaddingValue=value if isinstance(value, As) else As("SS" if signed else "US", value),
        PixelPaddingRangeLimit=None if limit is None else As("SS" if signed else "US", limit),
        PhotometricInterpretation=photometric,
    )  # fmt: skip
    is_padding = np.isin(stored, padded)
    grey = by_range(stored.astype(int), ~is_padding)
    if photometric == "MONOCHROME1":
        values = stored[~is_padding].astype(int)
        grey = by_range(values.max() + values.min() - stored.astype(int), ~is_padding)
    grey[is_padding] = 0
    np.testing.assert_array_equal(decoded(content)[0].pixels, grey)


def test_nothing_but_padding_is_black(decoded: Decode) -> None:
    (image,) = decoded(dicom_bytes(np.full((300, 300), 7, np.uint16), PixelPaddingValue=7))
    assert image.pixels.max() == 0
    assert "low_contrast" in image.flags


# ---- aspect -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [({"PixelSpacing": ["0.2", "0.1"]}, (40, 30)), ({"ImagerPixelSpacing": ["0.1", "0.2"]}, (20, 60)),
     ({"PixelAspectRatio": [3, 2]}, (30, 30)), ({"NominalScannedPixelSpacing": ["0.3", "0.1"]}, (60, 30)),
     ({"PixelSpacing": ["0.1", "0.1"], "PixelAspectRatio": [3, 2]}, (20, 30)),
     ({"PixelSpacing": ["0", "0"]}, (20, 30)), ({"PixelSpacing": ["0", "0"], "PixelAspectRatio": [2, 1]}, (40, 30)),
     ({"PixelAspectRatio": ["1"]}, (20, 30))],
)  # fmt: skip
def test_pixels_are_made_square(decoded: Decode, attributes: dict[str, Any], shape: tuple[int, int]) -> None:
    (image,) = decoded(dicom_bytes(RAMP, **attributes))
    assert image.pixels.shape == shape


def test_enlarging_is_bilinear(decoded: Decode) -> None:
    """Row r of 2n lies at (r + 0.5) / 2 − 0.5 of the n rows; beyond the first and last row the edge holds."""
    stored = np.array([[0, 0], [100, 200], [255, 255]], np.uint8)
    (image,) = decoded(dicom_bytes(stored, PixelSpacing=["2", "1"]))
    rows = [max(0.0, min(2.0, (r + 0.5) / 2 - 0.5)) for r in range(6)]
    wanted = [
        [stored[math.floor(r), c] * (1 - r % 1) + stored[math.ceil(r), c] * (r % 1) for c in range(2)] for r in rows
    ]
    assert np.abs(image.pixels - np.array(wanted)).max() <= 0.5


# ---- colour -----------------------------------------------------------------------------------------------------

RGB = np.random.default_rng(5).integers(0, 256, (16, 20, 3)).astype(np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114]


def colour(pixels: Any, syntax: str = "explicit", photometric: str = "RGB", **more: Any) -> bytes:
    return dicom_bytes(
        pixels, syntax, SOPClassUID=SECONDARY_CAPTURE, Modality="OT", SamplesPerPixel=3,
        PhotometricInterpretation=photometric, **({"PlanarConfiguration": 0} | more),
    )  # fmt: skip


COLOUR = [*NATIVE, "rle", "jpegls", "jpeg_lossless_sv1", "jpeg2000_lossless", "htj2k_lossless"]


@pytest.mark.parametrize("syntax", COLOUR)
def test_rgb(decoded: Decode, syntax: str) -> None:
    (image,) = decoded(colour(RGB, syntax))
    assert np.abs(image.pixels - luma(RGB)).max() <= 0.51
    assert "secondary_capture" in image.flags


def test_rgb_by_plane(decoded: Decode) -> None:
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
    content = colour(planes.tobytes(), Rows=16, Columns=20, BitsAllocated=8, BitsStored=8, HighBit=7,
                     PixelRepresentation=0, PlanarConfiguration=1)  # fmt: skip
    assert np.abs(decoded(content)[0].pixels - luma(RGB)).max() <= 0.51


def test_rgb_of_16_bits_keeps_its_depth(decoded: Decode) -> None:
    deep = RGB.astype(np.uint16) * 257
    (image,) = decoded(colour(deep))
    assert np.abs(image.pixels - luma(RGB)).max() <= 0.51


def ybr(rgb: np.ndarray) -> np.ndarray:
    """PS3.3, C.7.6.3.1.2, YBR_FULL."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])
    return np.clip(np.floor(rgb @ matrix.T + [0, 128, 128] + 0.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpegls", "jpeg_lossless_sv1"])
def test_ybr_full(decoded: Decode, syntax: str) -> None:
    (image,) = decoded(colour(ybr(RGB), syntax, "YBR_FULL"))
    assert np.abs(image.pixels - luma(RGB)).max() <= 1.6  # chrominance was rounded to 8 bits


def test_ybr_full_422(decoded: Decode) -> None:
    """Y Y Cb Cr for each pair of pixels."""
    smooth = np.repeat(RGB[:, ::2], 2, axis=1)
    pairs = ybr(smooth).reshape(16, 10, 2, 3)
    data = np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], axis=-1)
    content = colour(data.tobytes(), photometric="YBR_FULL_422", Rows=16, Columns=20, BitsAllocated=8, BitsStored=8,
                     HighBit=7, PixelRepresentation=0)  # fmt: skip
    assert np.abs(decoded(content)[0].pixels - luma(smooth)).max() <= 1.6


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_colour_jpeg(decoded: Decode, photometric: str) -> None:
    """JPEG says itself whether its components are YCbCr; where it does not, the header does."""
    y, x = np.mgrid[0:64, 0:64]
    smooth = np.stack([x * 3, y * 3, (x + y) * 1.5], axis=-1).astype(np.uint8)
    import imagecodecs

    coded = "RGB" if photometric == "RGB" else "YCBCR"
    stream = imagecodecs.jpeg8_encode(smooth, level=100, colorspace="RGB", outcolorspace=coded, subsampling="444")
    content = colour(
        encapsulate([bytes(stream)]), "jpeg_baseline", photometric, Rows=64, Columns=64, BitsAllocated=8, BitsStored=8,
        HighBit=7, PixelRepresentation=0,
    )  # fmt: skip
    assert np.abs(decoded(content)[0].pixels - luma(smooth)).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(decoded: Decode, bits: int) -> None:
    index = (np.arange(20 * 30) % 256).astype(np.uint8).reshape(20, 30)
    palette = np.random.default_rng(6).integers(0, 256, (256, 3))
    scale = 1 if bits == 8 else 257
    attributes: dict[str, Any] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        data = (palette[:, i] * scale).astype("u1" if bits == 8 else "<u2").tobytes()
        attributes[f"{name}PaletteColorLookupTableData"] = As("OW", data)
    (image,) = decoded(dicom_bytes(index, PhotometricInterpretation="PALETTE COLOR", **attributes))
    assert np.abs(image.pixels - luma(palette[index])).max() <= 0.51
