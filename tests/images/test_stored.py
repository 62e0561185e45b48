"""Code streams that disagree with their header: which stored values come out, for each kind of stream.

Streams are made of known samples, so the right values are known; what a disagreement means, pydicom and GDCM say.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrzero.images.dicom_file import open_dicom
from cxrzero.images.dicom_frames import read_frames, read_layout
from cxrzero.images.stored import stored_values
from tests.support.dicomfile import NATIVE, SECONDARY_CAPTURE, Decode, dicom_bytes, encapsulate, encode_frame

# White and black beside each other: what lossy codecs overshoot at. Squares of 5, so that blocks of 8 hold edges.
EDGES = (np.add.outer(np.arange(64) // 5, np.arange(64) // 5) % 2).astype(bool)


@pytest.fixture
def stored(tmp_path: Any) -> Any:
    """(stream, syntax, header) → the stored values of the first frame."""

    def run(stream: bytes, syntax: str, bits: int = 12, **header: Any) -> np.ndarray:
        path = tmp_path / "image"
        path.write_bytes(coded(stream, syntax, bits, **header))
        with open_dicom(path) as dicom:
            layout = read_layout(dicom, 10**6)
            frame = next(read_frames(dicom, layout))
            return stored_values(frame.samples, frame.claim, layout.stored)[0]

    return run


def coded(stream: bytes, syntax: str, bits: int = 12, signed: bool = False, **header: Any) -> bytes:
    header = {"Rows": 64, "Columns": 64, "BitsAllocated": 16, "BitsStored": bits, "HighBit": bits - 1} | header
    return dicom_bytes(encapsulate([bytes(stream)]), syntax, PixelRepresentation=int(signed), **header)


def j2k(samples: np.ndarray, bits: int, lossy: bool = False) -> bytes:
    how: dict[str, Any] = {"reversible": False, "level": 60} if lossy else {"reversible": True, "level": 0}
    return bytes(imagecodecs.jpeg2k_encode(samples, codecformat="J2K", bitspersample=bits, **how))


def htj2k(samples: np.ndarray, lossy: bool = False) -> bytes:
    return bytes(imagecodecs.htj2k_encode(samples, reversible=not lossy, level=0.01 if lossy else None))


def jpeg(samples: np.ndarray, bits: int = 12) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, level=92, bitspersample=bits))


def jpegls(samples: np.ndarray, near: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(samples, level=near))


def edges(low: int, high: int) -> np.ndarray:
    return np.where(EDGES, high, low).astype("u2" if low >= 0 else "i2")


# (syntax, Bits Stored, stream whose picture is black and white over all of Bits Stored)
LOSSY = {
    "JPEG Extended": ("jpeg_extended", 10, jpeg(edges(0, 1023))),
    "JPEG Extended in a lossless syntax": ("jpeg_lossless_sv1", 10, jpeg(edges(0, 1023))),
    "JPEG of 8 bits": ("jpeg_baseline", 7, jpeg(edges(0, 127).astype("u1"), 8)),
    "JPEG 2000": ("jpeg2000", 12, j2k(edges(0, 4095), 16, lossy=True)),
    "JPEG 2000 one bit deeper": ("jpeg2000", 12, j2k(edges(0, 4095), 13, lossy=True)),
    "JPEG 2000 in a lossless syntax": ("jpeg2000_lossless", 12, j2k(edges(0, 4095), 16, lossy=True)),
    "JPEG 2000 coded with a sign": ("jpeg2000", 12, j2k(edges(0, 4095).astype("i2"), 16, lossy=True)),
    "HTJ2K": ("htj2k", 12, htj2k(edges(0, 4095), lossy=True)),
    "JPEG-LS": ("jpegls_near", 12, jpegls(edges(3, 4092) + np.arange(64, dtype="u2") % 4, 9)),
    "JPEG-LS in a lossless syntax": ("jpegls", 12, jpegls(edges(3, 4092) + np.arange(64, dtype="u2") % 4, 9)),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_samples_that_overshoot_are_clipped(stored: Any, kind: str) -> None:
    """White stays white and black stays black; masked, a sample of 4100 would be 4, and −3 would be 4093."""
    syntax, bits, stream = LOSSY[kind]
    values = stored(stream, syntax, bits)
    assert values.min() >= 0
    assert values.max() == 2**bits - 1
    np.testing.assert_array_equal(values > 2 ** (bits - 1), EDGES)


@pytest.mark.parametrize("kind", LOSSY)
def test_the_streams_do_overshoot(kind: str) -> None:
    """Or the test above would pass without clipping."""
    _, bits, stream = LOSSY[kind]
    decode = imagecodecs.jpeg8_decode if "JPEG Ext" in kind or "8 bits" in kind else (
        imagecodecs.jpegls_decode if "LS" in kind else imagecodecs.jpeg2k_decode)  # fmt: skip
    samples = decode(stream)
    assert samples.max() > 2**bits - 1 or samples.min() < 0


def test_lossy_samples_with_a_sign_are_clipped(stored: Any) -> None:
    values = stored(j2k(edges(-2048, 2047), 16, lossy=True), "jpeg2000", signed=True)
    assert (values.min(), values.max()) == (-2048, 2047)
    np.testing.assert_array_equal(values > 0, EDGES)


@pytest.mark.parametrize("bits", [12, 16])
def test_lossy_twos_complement_is_clipped_at_its_own_depth(stored: Any, bits: int) -> None:
    """JPEG-LS knows no sign: −1 is coded as 4095 or 65535, and may come out as one more than 4095."""
    wanted = np.where(EDGES, -1, -900) + np.arange(64) % 4 * -5
    values = stored(jpegls((wanted & (2**bits - 1)).astype("u2"), 4), "jpegls_near", signed=True)
    assert np.abs(values - wanted).max() <= 4


RAMP = np.add.outer(np.arange(64), np.arange(64))  # 0 to 126


@pytest.mark.parametrize(
    ("syntax", "bits", "stream", "wanted", "off"),
    [("jpeg2000", 12, j2k((RAMP * 480).astype("u2"), 16, lossy=True), RAMP * 480, 600),
     ("htj2k", 12, htj2k((RAMP * 120).astype("u2"), lossy=True), RAMP * 120, 1000),
     ("jpegls_near", 12, jpegls((RAMP * 480).astype("u2"), 2), RAMP * 480, 2),
     ("jpeg_extended", 8, jpeg((RAMP * 32).astype("u2")), RAMP * 32, 20)],
    ids=["JPEG 2000", "HTJ2K", "JPEG-LS", "JPEG Extended"],
)  # fmt: skip
def test_a_lossy_stream_far_deeper_than_its_header_is_followed(
    stored: Any, syntax: str, bits: int, stream: bytes, wanted: np.ndarray, off: int
) -> None:
    """Samples of 8 or 16 times white are no overshoot: clipped, 9 of 10 would be white. GDCM and pydicom keep them."""
    assert np.abs(stored(stream, syntax, bits) - wanted).max() <= off


def test_a_lossy_stream_with_a_sign_far_deeper_than_its_header_is_followed(stored: Any) -> None:
    wanted = RAMP * 320 - 20000
    values = stored(j2k(wanted.astype("i2"), 16, lossy=True), "jpeg2000", signed=True)
    assert np.abs(values - wanted).max() <= 600


def test_grey_of_a_lossy_film_keeps_white_air(decoded: Decode) -> None:
    """The whole way: MONOCHROME1, black air stored as white."""
    syntax, bits, stream = LOSSY["JPEG Extended"]
    (image,) = decoded(coded(stream, syntax, bits, PhotometricInterpretation="MONOCHROME1", WindowCenter="512",
                             WindowWidth="1024"))  # fmt: skip
    assert image.pixels[EDGES].max() <= 20
    assert image.pixels[~EDGES].min() >= 235


@pytest.mark.parametrize("transform", [False, True])
def test_a_jpeg_2000_stream_that_transforms_rgb_is_rgb(decoded: Decode, transform: bool) -> None:
    """ISO/IEC 15444-1, G.1: RGB is what is transformed, and comes out; YBR_FULL would have it converted twice."""
    rgb = np.stack([RAMP * 2, RAMP, 255 - RAMP * 2], axis=-1).astype("u1")
    stream = bytes(imagecodecs.jpeg2k_encode(rgb, codecformat="J2K", mct=transform, reversible=True, level=0))
    pictures = [
        decoded(coded(stream, "jpeg2000_lossless", 8, BitsAllocated=8, SamplesPerPixel=3, PlanarConfiguration=0,
                      PhotometricInterpretation=name))[0].pixels
        for name in ("YBR_FULL", "YBR_RCT")
    ]  # fmt: skip
    assert np.array_equal(*pictures) is transform
    np.testing.assert_array_equal(pictures[1], np.asarray(Image.fromarray(rgb).convert("L")))


DEEP = np.resize(np.array([0, 1, 600, 2047, 2048, 4095, 4096, 5000]), (64, 64))
SIGNED = np.resize(np.array([-2048, -600, -5, -1, 0, 1, 600, 2047]), (64, 64))


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [("jpeg2000_lossless", j2k(DEEP.astype("u2"), 16)), ("jpeg2000_lossless", j2k(DEEP.astype("u2"), 13)),
     ("jpeg2000", j2k(DEEP.astype("u2"), 16)), ("htj2k_lossless", htj2k(DEEP.astype("u2"))),
     ("htj2k", htj2k(DEEP.astype("u2"))), ("jpegls", jpegls(DEEP.astype("u2"), 0)),
     ("jpegls_near", jpegls(DEEP.astype("u2"), 0)), ("jpeg2000_lossless", j2k(DEEP.astype("i2"), 14))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("header", [{}, {"HighBit": 15}, {"bits": 8, "BitsAllocated": 8}, {"bits": 10}], ids=str)
def test_a_lossless_stream_deeper_than_its_header_is_followed(
    stored: Any, syntax: str, stream: bytes, header: dict[str, Any]
) -> None:
    """As in GDCM, and in pydicom where it has room for the samples; masked, 4096 would be 0."""
    np.testing.assert_array_equal(stored(stream, syntax, **header), DEEP)


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [("jpeg2000_lossless", j2k(SIGNED.astype("i2"), 12)), ("jpeg2000_lossless", j2k(SIGNED.astype("i2"), 16)),
     ("jpeg2000_lossless", j2k((SIGNED & 0xFFF).astype("u2"), 12)),
     ("jpeg2000_lossless", j2k((SIGNED & 0xFFF).astype("u2"), 16)),
     ("jpeg2000_lossless", j2k((SIGNED & 0xFFFF).astype("u2"), 16)),
     ("jpegls", jpegls((SIGNED & 0xFFF).astype("u2"), 0)), ("jpegls", jpegls((SIGNED & 0xFFFF).astype("u2"), 0)),
     ("jpeg_lossless_sv1", encode_frame((SIGNED & 0xFFF).astype("u2"), "jpeg_lossless_sv1", 12)),
     ("jpeg_lossless_sv1", encode_frame((SIGNED & 0xFFFF).astype("u2"), "jpeg_lossless_sv1", 16))],
    ids=str,
)  # fmt: skip
def test_a_sign_by_the_header_whatever_the_stream_says(stored: Any, syntax: str, stream: bytes) -> None:
    np.testing.assert_array_equal(stored(stream, syntax, signed=True), SIGNED)


def test_a_sign_in_the_stream_alone(stored: Any) -> None:
    """The bits are those of the header's unsigned values, at the stream's depth: pydicom's reading."""
    np.testing.assert_array_equal(stored(j2k(SIGNED.astype("i2"), 12), "jpeg2000_lossless"), SIGNED & 0xFFF)
    np.testing.assert_array_equal(stored(j2k(SIGNED.astype("i2"), 16), "jpeg2000_lossless"), SIGNED & 0xFFFF)


def test_signed_values_beyond_the_header(stored: Any) -> None:
    deep = np.resize(np.array([-30000, -2049, -1, 0, 2048, 31000]), (64, 64))
    np.testing.assert_array_equal(stored(j2k(deep.astype("i2"), 16), "jpeg2000_lossless", signed=True), deep)


@pytest.mark.parametrize("signed", [False, True])
def test_a_stream_shallower_than_its_header(stored: Any, signed: bool) -> None:
    shallow = np.resize(np.array([0, 5, 600, 1023]), (64, 64)).astype("u2")
    for syntax, stream in (("jpeg2000_lossless", j2k(shallow, 10)), ("jpeg2000", j2k(shallow, 10)),
                           ("jpeg_lossless_sv1", encode_frame(shallow, "jpeg_lossless_sv1", 10))):  # fmt: skip
        np.testing.assert_array_equal(stored(stream, syntax, signed=signed), shallow)


@pytest.mark.parametrize("bits", [13, 16])
def test_lossless_jpeg_is_masked(stored: Any, bits: int) -> None:
    """Its differences are modulo 2^16 (ITU-T T.81, H.1.2.1): pydicom, GDCM and dcmtk all drop what carries over."""
    stream = encode_frame(DEEP.astype("u2"), "jpeg_lossless_sv1", bits)
    np.testing.assert_array_equal(stored(stream, "jpeg_lossless_sv1"), DEEP % 4096)


def test_bits_that_no_word_must_hold(stored: Any) -> None:
    """GDCM reads a 12-bit stream whose header has 8 bits allocated: a code stream has no words."""
    stream = j2k((DEEP % 4096).astype("u2"), 12)
    np.testing.assert_array_equal(stored(stream, "jpeg2000_lossless", BitsAllocated=8), DEEP % 4096)
    np.testing.assert_array_equal(stored(stream, "jpeg2000_lossless", BitsAllocated=12, HighBit=3), DEEP % 4096)


@pytest.mark.parametrize("syntax", [*NATIVE, "rle"])
@pytest.mark.parametrize("signed", [False, True])
def test_overlay_bits_in_words_of_8(decoded: Decode, syntax: str, signed: bool) -> None:
    values = np.arange(600).reshape(20, 30) % 64
    raw = (values << 1 | 0x81 * (np.arange(30) % 2)).astype("u1")  # above and below
    (image,) = decoded(dicom_bytes(raw, syntax, BitsStored=6, HighBit=6, PixelRepresentation=int(signed),
                                   WindowCenter="0" if signed else "32", WindowWidth="64"))  # fmt: skip
    level = (values + 32) % 64 if signed else values
    np.testing.assert_array_equal(image.pixels, np.floor(level * 255 / 63 + 0.5))


def test_12_bits_without_a_gap(decoded: Decode) -> None:
    """Two samples in three bytes (ACR-NEMA), or in words that state 12 bits: read by dcmtk and by GDCM."""
    values = (np.arange(21 * 15).reshape(21, 15) * 13 % 4096).astype("u2")
    a, b = (np.append(values.ravel(), 0)[i::2] for i in (0, 1))
    packed = np.stack([a & 255, a >> 8 | (b & 15) << 4, b >> 4], axis=-1).astype("u1").tobytes()[:473]
    header: dict[str, Any] = {
        "Rows": 21,
        "Columns": 15,
        "BitsAllocated": 12,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    (wanted,) = decoded(dicom_bytes(values, BitsStored=12))
    for content in (dicom_bytes(packed, **header), dicom_bytes(values.tobytes(), **header)):
        np.testing.assert_array_equal(decoded(content)[0].pixels, wanted.pixels)


def test_colours_deeper_than_their_header(decoded: Decode) -> None:
    """Lossless colour of 12 bits under a header that states 8: scaled by the stream's depth."""
    rgb = np.random.default_rng(3).integers(0, 4096, (64, 64, 3)).astype("u2")
    (image,) = decoded(
        coded(j2k(rgb, 12), "jpeg2000_lossless", 8, BitsAllocated=8, SamplesPerPixel=3, PhotometricInterpretation="RGB",
              PlanarConfiguration=0, SOPClassUID=SECONDARY_CAPTURE, Modality="OT")
    )  # fmt: skip
    assert np.abs(image.pixels - rgb @ [0.299, 0.587, 0.114] / 4095 * 255).max() <= 0.6
