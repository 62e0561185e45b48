"""PNG, JPEG, TIFF and the rest: what is kept, what is said, what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images import DecodeOptions, decode
from tests.support.dicomfile import Decode

RANDOM = np.random.default_rng(8)
GREY = RANDOM.integers(0, 256, (30, 44)).astype(np.uint8)
RGB = RANDOM.integers(0, 256, (30, 44, 3)).astype(np.uint8)
DEEP = RANDOM.integers(900, 3000, (30, 44)).astype(np.uint16)


def saved(image: Image.Image | np.ndarray, file_format: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **how)
    return buffer.getvalue()


def stretched(values: np.ndarray) -> np.ndarray:
    """The range of the values becomes 0 to 255, halves rounded up."""
    values = values.astype(float)
    return np.floor((values - values.min()) / (values.max() - values.min()) * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "GIF", "JPEG2000"])
def test_8_bit_grey_is_untouched(decoded: Decode, file_format: str) -> None:
    (image,) = decoded(saved(GREY, file_format))
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.decoder == {"PNG": "imagecodecs/png", "TIFF": "tifffile"}.get(file_format, f"pillow/{file_format}")


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_same_grey_as_pillow(decoded: Decode, file_format: str, mode: str) -> None:
    content = saved(Image.fromarray(RGB).convert(mode), file_format)
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    np.testing.assert_array_equal(decoded(content)[0].pixels, wanted)


@pytest.mark.parametrize("how", [{"progressive": True}, {"quality": 30}, {"subsampling": 2}])
def test_jpeg_variants(decoded: Decode, how: dict[str, Any]) -> None:
    content = saved(RGB, "JPEG", **how)
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    np.testing.assert_array_equal(decoded(content)[0].pixels, wanted)


def test_cmyk(decoded: Decode) -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    (found,) = decoded(saved(image, "TIFF"))
    np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB").convert("L")))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_depth(decoded: Decode, file_format: str) -> None:
    (image,) = decoded(saved(DEEP, file_format))
    np.testing.assert_array_equal(image.pixels, stretched(DEEP))


def test_16_bit_tiff_of_either_byte_order_and_white_is_zero(decoded: Decode) -> None:
    white_is_zero = 3000 - DEEP.astype(int)
    for order, photometric, wanted in (
        ("<", 1, DEEP), (">", 1, DEEP), ("<", 0, white_is_zero), (">", 0, white_is_zero)
    ):  # fmt: skip
        content = tiff(order, 44, 30, 16, photometric, DEEP.astype(f"{order}u2").tobytes())
        np.testing.assert_array_equal(decoded(content)[0].pixels, stretched(wanted))


def tiff(order: str, width: int, height: int, bits: int, photometric: int, data: bytes) -> bytes:
    """One uncompressed strip (TIFF 6.0, section 3)."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200),
            (277, 3, 1), (278, 4, height), (279, 4, len(data))]  # fmt: skip
    ifd = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        ifd += struct.pack(order + "HHI", tag, kind, 1) + struct.pack(order + ("HH" if kind == 3 else "I"), *(
            (value, 0) if kind == 3 else (value,)))  # fmt: skip
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (head + ifd + b"\0\0\0\0").ljust(200, b"\0") + data


def test_float_tiff(decoded: Decode) -> None:
    values = DEEP.astype(np.float32) / 7
    np.testing.assert_array_equal(decoded(saved(values, "TIFF"))[0].pixels, stretched(values))
    values[3, 3] = np.nan
    with pytest.raises(ImageError, match="corrupt_image"):
        decoded(saved(values, "TIFF"))


@pytest.mark.parametrize("file_format", ["png", "tiff"])
@pytest.mark.parametrize("bands", [3, 4])
def test_16_bit_colour_keeps_its_depth(decoded: Decode, file_format: str, bands: int) -> None:
    samples = np.repeat(DEEP[..., None], bands, axis=2)
    if bands == 4:
        samples[..., 3] = 65535
    if file_format == "png":
        content = bytes(imagecodecs.png_encode(samples))
    else:
        data = samples.astype("<u2").tobytes()
        content = colour_tiff(44, 30, bands, data)
    np.testing.assert_array_equal(decoded(content)[0].pixels, stretched(DEEP))


def colour_tiff(width: int, height: int, bands: int, data: bytes) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, 400), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 500), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, len(data)),
            (284, 3, 1, 1)]  # fmt: skip
    if bands == 4:
        tags.append((338, 3, 1, 2))
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 8) + ifd + b"\0\0\0\0"
    return head.ljust(400, b"\0") + struct.pack(f"<{bands}H", *[16] * bands).ljust(100, b"\0") + data


def test_palette_and_one_bit(decoded: Decode) -> None:
    palette = Image.fromarray(RGB).quantize(32)
    (image,) = decoded(saved(palette, "PNG"))
    np.testing.assert_array_equal(image.pixels, np.asarray(palette.convert("RGB").convert("L")))
    bits = Image.fromarray(GREY).convert("1")
    np.testing.assert_array_equal(decoded(saved(bits, "PNG"))[0].pixels, np.asarray(bits) * 255)


def test_transparent_pixels_are_black(decoded: Decode) -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(decoded(saved(rgba, "PNG"))[0].pixels, np.asarray(Image.fromarray(RGB).convert("L")))
    rgba[:10, :, 3] = 0
    (image,) = decoded(saved(rgba, "PNG"))
    assert image.pixels[:10].max() == 0
    np.testing.assert_array_equal(image.pixels[10:], np.asarray(Image.fromarray(RGB).convert("L"))[10:])


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def grey_png(values: np.ndarray, bits: int, *chunks: bytes) -> bytes:
    """A greyscale PNG of any depth; the chunks stand in front of the pixels."""
    digits = (values.astype(np.int64)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(digits.astype(np.uint8).reshape(len(values), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) + png_chunk(b"IDAT", data)
            + png_chunk(b"IEND", b""))  # fmt: skip


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_that_stands_for_transparent_is_black(decoded: Decode, bits: int) -> None:
    """tRNS (PNG specification, 11.3.2.1) of a greyscale image holds one sample, in the image's own depth."""
    values = RANDOM.integers(0, 1 << bits, (30, 44))
    for key in (0, 1, (1 << bits) - 1):
        shown = np.where(values == key, 0, values)
        wanted = shown * 255 // ((1 << bits) - 1) if bits <= 8 else stretched(shown)
        (image,) = decoded(grey_png(values, bits, png_chunk(b"tRNS", struct.pack(">H", key))))
        np.testing.assert_array_equal(image.pixels, wanted)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_depth(decoded: Decode, bits: int) -> None:
    values = RANDOM.integers(0, 1 << bits, (30, 44))
    wanted = values * 255 // ((1 << bits) - 1) if bits <= 8 else stretched(values)
    for chunk in (b"", png_chunk(b"gAMA", struct.pack(">I", 45455)), png_chunk(b"sBIT", b"\1")):
        np.testing.assert_array_equal(decoded(grey_png(values, bits, chunk))[0].pixels, wanted)


def jpeg2000(samples: np.ndarray, bits: int, container: str = "jp2") -> bytes:
    how: dict[str, Any] = {
        "level": 0,
        "reversible": True,
        "codecformat": container,
        "bitspersample": bits,
        "mct": False,
    }
    return bytes(imagecodecs.jpeg2k_encode(samples, **how))


@pytest.mark.parametrize("container", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16, 20])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_every_depth(decoded: Decode, bits: int, signed: bool, container: str) -> None:
    size = 1 if bits == 8 else 2 if bits <= 16 else 4
    limits = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    samples = RANDOM.integers(*limits, (30, 44, 3), endpoint=True)
    samples[0, 0], samples[0, 1] = limits
    stored = samples.astype(f"{'i' if signed else 'u'}{size}")
    (grey,) = decoded(jpeg2000(stored[..., 0], bits, container))
    plain = samples[..., 0] - limits[0] if bits == 8 else stretched(samples[..., 0])  # 8 bits keep their values
    np.testing.assert_array_equal(grey.pixels, plain)
    (colour,) = decoded(jpeg2000(stored, bits, container))
    luma = samples @ np.array([19595, 38470, 7471]) / 65536
    wanted = np.floor(luma - limits[0] + 0.5) if bits == 8 else stretched(luma).astype(int)
    assert np.abs(colour.pixels - wanted).max() <= (8 < bits < 16)  # luma's integers are steps of the range there
    assert (colour.pixels != wanted).mean() < 0.2


def test_transparency_in_deep_jpeg_2000(decoded: Decode) -> None:
    samples = RANDOM.integers(0, 65536, (30, 44, 4)).astype(np.uint16)
    (image,) = decoded(jpeg2000(samples[..., :2], 16))
    np.testing.assert_array_equal(image.pixels, stretched(samples[..., 0] * (samples[..., 1] / 65535)))
    grey = np.floor(samples[..., :3] @ np.array([19595, 38470, 7471]) / 65536 + 0.5)
    np.testing.assert_array_equal(decoded(jpeg2000(samples, 16))[0].pixels, stretched(grey * samples[..., 3] / 65535))


def test_deep_jpeg_2000_with_more_behind_it_or_less(decoded: Decode) -> None:
    samples = RANDOM.integers(0, 65536, (30, 44, 3)).astype(np.uint16)
    content = jpeg2000(samples, 16)
    wanted = decoded(content)[0].pixels
    box = struct.pack(">I", 208) + b"xml " + b"x" * 200
    np.testing.assert_array_equal(decoded(content + box)[0].pixels, wanted)
    for cut in (2, 300, len(content) // 2):
        with pytest.raises(ImageError, match="truncated"):
            decoded(content[:-cut])
    at = content.index(b"colr") + 7
    with pytest.raises(ImageError, match="grey or RGB"):  # 18 is sYCC
        decoded(content[:at] + struct.pack(">I", 18) + content[at + 4 :])
    with pytest.raises(ImageError, match="too_many_pixels"):
        decoded(content, DecodeOptions(max_pixels=30 * 44 - 1))
    with pytest.raises(ImageError, match="26 bits"):
        decoded(jpeg2000(samples.astype(np.uint32) << 10, 26))


def test_kinds_of_jpeg_that_only_dicom_has(decoded: Decode) -> None:
    for content in (
        imagecodecs.jpeg8_encode(DEEP, bitspersample=12), imagecodecs.ljpeg_encode(DEEP, bitspersample=16),
        imagecodecs.jpegls_encode(GREY), imagecodecs.jpegls_encode(DEEP),
    ):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            decoded(bytes(content))
        assert caught.value.code == "unsupported_image"
        assert "inside of DICOM" in caught.value.message


def interlaced(pixels: np.ndarray) -> bytes:
    """An Adam7 PNG (PNG specification, 8.2), which Pillow cannot write."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\0" + row.astype(f">u{pixels.dtype.itemsize}").tobytes()
        for x, y, dx, dy in passes for row in pixels[y::dy, x::dx] if row.size
    )  # fmt: skip

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], pixels.dtype.itemsize * 8, 0, 0, 0, 1)
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows))
            + png_chunk(b"IEND", b""))  # fmt: skip


def test_interlaced_png(decoded: Decode) -> None:
    np.testing.assert_array_equal(decoded(interlaced(GREY))[0].pixels, GREY)
    np.testing.assert_array_equal(decoded(interlaced(DEEP))[0].pixels, stretched(DEEP))


UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].T, 8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("file_format", "pixels"), [("PNG", GREY), ("TIFF", GREY), ("TIFF", DEEP), ("PNG", DEEP)])
def test_exif_orientation(decoded: Decode, orientation: int, file_format: str, pixels: np.ndarray) -> None:
    """EXIF 2.32, table 6: where row 0 and column 0 of the stored picture lie in the upright one."""
    exif = Image.Exif()
    exif[274] = orientation
    (image,) = decoded(saved(pixels, file_format, exif=exif))
    wanted = UPRIGHT[orientation](pixels if pixels.dtype == np.uint8 else stretched(pixels))
    np.testing.assert_array_equal(image.pixels, wanted)


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_several_pages_say_that_the_first_was_used(decoded: Decode, file_format: str) -> None:
    pages = [Image.fromarray(np.full((30, 40), level, np.uint8)) for level in (200, 100, 0)]
    how = {"lossless": True} if file_format == "WEBP" else {}
    (image,) = decoded(saved(pages[0], file_format, save_all=True, append_images=pages[1:], **how))
    assert "multi_page" in image.flags
    assert abs(int(image.pixels.mean()) - 200) <= 1
    (single,) = decoded(saved(pages[0], file_format))
    assert "multi_page" not in single.flags


@pytest.mark.parametrize(("invert", "inverted"), [("auto", False), ("no", False), ("yes", True)])
def test_invert(decoded: Decode, invert: Any, inverted: bool) -> None:
    (image,) = decoded(saved(GREY, "PNG"), DecodeOptions(invert=invert))
    np.testing.assert_array_equal(image.pixels, 255 - GREY if inverted else GREY)


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_truncated(decoded: Decode, file_format: str, share: float) -> None:
    smooth = Image.fromarray(GREY).resize((300, 200))
    content = saved(smooth, file_format)
    with pytest.raises(ImageError) as caught:
        decoded(content[: int(len(content) * share)])
    assert caught.value.code in ("truncated", "corrupt_image")


@pytest.mark.parametrize("tail", [bytes(64), struct.pack(">I4s", 120, b"uuid") + bytes(range(1, 113))])
def test_what_stands_behind_a_jpeg_2000_stream(decoded: Decode, tail: bytes) -> None:
    """Padding, or boxes of a JP2 file: the stream ends where its tile-parts do."""
    whole = saved(GREY, "JPEG2000", irreversible=False)
    np.testing.assert_array_equal(decoded(whole + tail)[0].pixels, decoded(whole)[0].pixels)


def test_a_truncated_gif_of_which_pixels_are_missing(decoded: Decode) -> None:
    content = saved(Image.fromarray(GREY).resize((300, 200)), "GIF")
    with pytest.raises(ImageError):
        decoded(content[: len(content) // 2])


def test_a_tiff_whose_strips_do_not_cover_it(decoded: Decode) -> None:
    content = tiff("<", 44, 30, 16, 1, DEEP.tobytes())
    higher = content.replace(struct.pack("<HHII", 257, 4, 1, 30), struct.pack("<HHII", 257, 4, 1, 3000))
    with pytest.raises(ImageError, match="truncated"):
        decoded(higher)


def png_of(width: int, height: int) -> bytes:
    content = bytearray(saved(np.zeros((1, 1), np.uint8), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 10**9)])
def test_claims_of_many_pixels(decoded: Decode, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"too_many_pixels|corrupt_image"):
        decoded(png_of(*size))


def test_the_limit_is_an_option(decoded: Decode) -> None:
    with pytest.raises(ImageError, match="too_many_pixels"):
        decoded(saved(GREY, "PNG"), DecodeOptions(max_pixels=GREY.size - 1))
    assert decoded(saved(GREY, "PNG"), DecodeOptions(max_pixels=GREY.size))


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = bytes(tmp_path) + b"/\xff\xfe.png"
    with open(path, "wb") as file:
        file.write(saved(GREY, "PNG"))
    np.testing.assert_array_equal(next(decode(path)).pixels, GREY)
    np.testing.assert_array_equal(next(decode(path.decode(errors="surrogateescape"))).pixels, GREY)
