"""The short way of plain grey PNG files gives what Pillow gives, and leaves it every file that is not plain."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cxrzero.errors import ImageError
from cxrzero.images.plain_png import read_plain_png
from tests.support.dicomfile import Decode

RANDOM = np.random.default_rng(3)
NOISE = RANDOM.integers(0, 256, (61, 83)).astype(np.uint8)
SMOOTH = np.add.outer(np.arange(240) // 3, np.arange(310) // 5).astype(np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def saved(pixels: np.ndarray, mode: str = "L", **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG", **how)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def built(pixels: np.ndarray, data: bytes, ends: bytes = chunk(b"IEND")) -> bytes:
    """A PNG around `data`, its zlib stream."""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + ends


def rows(pixels: np.ndarray) -> bytes:
    return np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # filter 0 in front of each row


@pytest.mark.parametrize("pixels", [NOISE, SMOOTH, NOISE[:1], NOISE[:, :1]])
@pytest.mark.parametrize("content", [saved, imagecodecs.png_encode, lambda pixels: saved(pixels, optimize=True)])
def test_the_same_pixels_as_pillow(decoded: Decode, pixels: np.ndarray, content: object) -> None:
    data = bytes(content(pixels))  # type: ignore[operator]
    (image,) = decoded(data)
    assert image.decoder == "imagecodecs/png"
    np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_chunks_that_change_no_pixel(decoded: Decode) -> None:
    data = saved(SMOOTH, icc_profile=b"x" * 200, dpi=(300, 300))
    gamma = data.replace(data[:33], data[:33] + chunk(b"gAMA", struct.pack(">I", 45455)), 1)
    for each in (data, gamma):
        np.testing.assert_array_equal(decoded(each)[0].pixels, SMOOTH)
        assert decoded(each)[0].decoder == "imagecodecs/png"


def test_what_is_not_plain_is_left_to_pillow() -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 0\n")
    turned = Image.Exif()
    turned[274] = 6
    others = [
        saved(SMOOTH, "RGB"),
        saved(SMOOTH, "LA"),
        saved(SMOOTH, "P"),
        saved(SMOOTH, "1"),
        saved(SMOOTH.astype("u2"), "I;16"),
        saved(SMOOTH, transparency=7),
        saved(SMOOTH, pnginfo=text),
        saved(SMOOTH, exif=turned),
        built(SMOOTH, zlib.compress(rows(SMOOTH))[:-9]),
        built(SMOOTH, zlib.compress(rows(SMOOTH)), ends=b""),
        built(SMOOTH, zlib.compress(rows(SMOOTH[:-1]))),
        SIGNATURE,
    ]
    assert [read_plain_png(each) is None for each in others] == [True] * len(others)
    assert read_plain_png(built(SMOOTH, zlib.compress(rows(SMOOTH)))) is not None


def test_a_file_that_ends_early_is_no_picture(decoded: Decode) -> None:
    data = saved(NOISE)
    for length in range(60, len(data) - 16, 97):
        with pytest.raises(ImageError) as caught:
            decoded(data[:length])
        assert caught.value.code in ("truncated", "corrupt_image")


def test_damage_is_never_seen_by_the_short_way_alone() -> None:
    """What Pillow refuses is refused, what it reads is read alike; every second file's CRC is wrong, too."""
    for seed in range(300):
        random = np.random.default_rng(seed)
        stream = bytearray(zlib.compress(rows(NOISE)))
        stream[random.integers(len(stream))] ^= 1 << random.integers(8)
        data = built(NOISE, bytes(stream))
        if seed % 2:
            at = data.index(b"IDAT") + 4 + len(stream)
            data = data[:at] + struct.pack(">I", 0) + data[at + 4 :]
        pixels = read_plain_png(data)
        if pixels is not None:
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))), f"seed {seed}")
