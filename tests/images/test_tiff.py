"""TIFF: every sample as it was written, whatever the layout; and what becomes of it, or why it is refused.

What is written by `tifffile` is compared with libtiff's reading of it (imagecodecs.tiff_decode), too.
"""

from __future__ import annotations

import io
import struct
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images.tiff import read_tiff
from tests.support.dicomfile import Decode
from tests.support.tifffiles import tiff, written

RANDOM = np.random.default_rng(6)
H, W = 37, 53
MANY = 10**6
INTEGERS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")
FLOATS = ("f2", "f4", "f8")


def noise(dtype: str, bands: int = 1) -> np.ndarray:
    """(H, W, bands) over the type's whole range, both ends included."""
    if dtype in FLOATS:
        return (RANDOM.normal(size=(H, W, bands)) * 100).astype(dtype)
    limits = np.iinfo(dtype)
    samples = RANDOM.integers(limits.min, limits.max, (H, W, bands), dtype, endpoint=True)
    samples[0, 0], samples[0, 1] = limits.min, limits.max
    return samples


def bits(count: int, bands: int = 1) -> np.ndarray:
    samples = RANDOM.integers(0, 1 << count, (H, W, bands))
    samples[0, 0], samples[0, 1] = 0, (1 << count) - 1
    return samples


def stretched(values: np.ndarray) -> np.ndarray:
    """The range of the values becomes 0 to 255, halves rounded up."""
    values = values.astype(np.float64)
    return np.floor((values - values.min()) / (values.max() - values.min()) * 255 + 0.5).astype(np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 in Pillow's 16-bit fractions, not rounded."""
    return rgb.astype(np.float64) @ np.array([19595, 38470, 7471]) / 65536


def pillows(mode: str, samples: np.ndarray, raw: str = "") -> np.ndarray:
    """The grey that Pillow makes of the samples of a mode, transparent pixels black."""
    image = Image.frombytes(mode, (W, H), samples.astype(np.uint8).tobytes(), "raw", raw or mode)
    if mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = Image.composite(image.convert("RGB"), Image.new("RGB", image.size), alpha)
    return np.asarray((image.convert("RGB") if mode == "CMYK" else image).convert("L"))


# ---- the samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_sample_type_in_every_layout(order: str, compression: str | None) -> None:
    layouts: list[dict[str, Any]] = [{"rowsperstrip": 10}, {"tile": (16, 32)}, {"rowsperstrip": 10, "bigtiff": True}]
    for dtype, planar, layout, predictor in product(
        INTEGERS + FLOATS, (None, "contig", "separate"), layouts, (1, 2, 3)
    ):
        written_by_nobody = (dtype in FLOATS) == (predictor == 2) and predictor > 1
        if predictor > 1 and (compression in (None, "packbits") or written_by_nobody):
            continue
        samples = noise(dtype, 1 if planar is None else 3)
        how = layout | {"photometric": "minisblack" if planar is None else "rgb", "planarconfig": planar}
        content = np.moveaxis(samples, -1, 0) if planar == "separate" else samples.squeeze()
        if compression == "lzma":
            how["compressionargs"] = {"level": 0}
        data = written(content, byteorder=order, compression=compression, predictor=predictor, **how)
        found = read_tiff(data, MANY)
        assert found is not None
        np.testing.assert_array_equal(found.stored.samples, samples, f"{dtype} {how} predictor {predictor}")
        assert found.stored.samples.dtype == dtype
        np.testing.assert_array_equal(imagecodecs.tiff_decode(data, index=0), content)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 10, 12, 14, 16])
def test_samples_that_are_packed_to_bits(depth: int) -> None:
    for order, compression, fill_order, planar in product("<>", (1, 5, 8, 32773), (1, 2), (None, 1, 2)):
        samples = bits(depth, 1 if planar is None else 3)
        how: dict[str, Any] = {"order": order, "compression": compression, "fill_order": fill_order}
        data = tiff(samples, depth, 1 if planar is None else 2, planar=planar or 1, **how)
        found = read_tiff(data, MANY)
        assert found is not None
        np.testing.assert_array_equal(found.stored.samples, samples, f"{depth} bits, planar {planar}, {how}")
        assert found.stored.bits == depth


def test_floats_of_which_the_bits_were_subtracted() -> None:
    """Predictor 2 over floating point, as libtiff writes it: differences of the bits, taken for integers."""
    for dtype, order in product(FLOATS, "<>"):
        samples = noise(dtype)
        whole = samples.view(f"u{samples.itemsize}")
        steps = np.concatenate([whole[:, :1], whole[:, 1:] - whole[:, :-1]], axis=1)
        data = tiff(
            steps.astype(np.uint64), samples.itemsize * 8, 1, order=order, compression=8, more={317: [2], 339: [3]}
        )
        found = read_tiff(data, MANY)
        assert found is not None
        np.testing.assert_array_equal(found.stored.samples, samples)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 34925, 50000])
def test_a_last_strip_as_long_as_the_others(compression: int) -> None:
    samples = bits(8)
    found = read_tiff(tiff(samples, 8, 1, compression=compression, pad_last=True), MANY)
    assert found is not None
    np.testing.assert_array_equal(found.stored.samples, samples)


def test_byte_counts_of_what_is_not_compressed_are_not_needed(decoded: Decode) -> None:
    samples = bits(8)
    whole = tiff(samples, 8, 1)
    for data in (tiff(samples, 8, 1, without=(279,)), tiff(samples, 8, 1, more={279: [1, 1, 1, 1]}), whole):
        np.testing.assert_array_equal(decoded(data)[0].pixels, samples[..., 0])


# ---- grey -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_the_range_of_what_is_not_8_bits(decoded: Decode, order: str, compression: str | None) -> None:
    for dtype in INTEGERS + FLOATS:
        values = noise(dtype)[..., 0]
        black, white = (
            decoded(written(values, byteorder=order, compression=compression, photometric=photometric))[0].pixels
            for photometric in ("minisblack", "miniswhite")
        )
        wanted = values if dtype == "u1" else stretched(values)
        np.testing.assert_array_equal(black, wanted, dtype)
        np.testing.assert_array_equal(white, 255 - values if dtype == "u1" else stretched(-values.astype(float)), dtype)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_luma_of_deep_colours(decoded: Decode, planar: str) -> None:
    for dtype in (*INTEGERS[1:], *FLOATS):
        rgb = noise(dtype, 3)
        content = rgb if planar == "contig" else np.moveaxis(rgb, -1, 0)
        (image,) = decoded(written(content, photometric="rgb", planarconfig=planar, byteorder=">"))
        assert image.pixels.shape == (H, W)
        wanted = stretched(luma(rgb)).astype(int)  # whose integers are rounded before the range is taken: half a unit
        assert np.abs(image.pixels - wanted).max() <= 1, dtype
        assert (image.pixels != wanted).mean() < 0.01


@pytest.mark.parametrize("depth", [1, 2, 4, 6, 8])
def test_few_bits_span_black_to_white(decoded: Decode, depth: int) -> None:
    values = bits(depth)
    steps = (1 << depth) - 1
    for photometric, order, fill_order in product((0, 1), "<>", (1, 2)):
        wanted = np.floor(values[..., 0] * 255 / steps + 0.5)
        (image,) = decoded(tiff(values, depth, photometric, order=order, fill_order=fill_order))
        np.testing.assert_array_equal(image.pixels, 255 - wanted if photometric == 0 else wanted)


def test_12_bits_are_stretched_like_16(decoded: Decode) -> None:
    values = bits(12) // 3 + 100
    for photometric, sign in ((1, 1), (0, -1)):
        (image,) = decoded(tiff(values, 12, photometric))
        np.testing.assert_array_equal(image.pixels, stretched(sign * values[..., 0]))


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("compression", [1, 5])
def test_8_bit_colour_and_transparency_are_pillows(decoded: Decode, planar: int, compression: int) -> None:
    kinds = [
        (2, 3, [], "RGB", 3, ""), (2, 4, [], "RGBA", 4, ""), (2, 4, [2], "RGBA", 4, ""), (2, 4, [999], "RGBA", 4, ""),
        (2, 4, [1], "RGBA", 4, "RGBa"), (2, 4, [0], "RGB", 3, ""), (2, 5, [2, 0], "RGBA", 4, ""),
        (2, 6, [0, 0, 0], "RGB", 3, ""), (1, 2, [2], "LA", 2, ""), (1, 2, [], "LA", 2, ""), (1, 2, [0], "L", 1, ""),
        (1, 2, [1], "L", 1, ""), (5, 4, [], "CMYK", 4, ""), (5, 5, [0], "CMYK", 4, ""),
    ]  # fmt: skip
    for photometric, bands, extra, mode, used, raw in kinds:
        samples = bits(8, bands)
        data = tiff(samples, 8, photometric, planar=planar, compression=compression, more={338: extra} if extra else {})
        wanted = pillows(mode, samples[..., :used], raw)
        np.testing.assert_array_equal(decoded(data)[0].pixels, wanted, f"{mode} {extra}")


def test_transparency_beside_deep_samples(decoded: Decode) -> None:
    """Over black: straight alpha multiplies, premultiplied has been multiplied, what is unspecified is no alpha."""
    samples = bits(16, 4)
    grey = np.floor(luma(samples[..., :3]) + 0.5)
    for extra, wanted in ((2, grey * samples[..., 3] / 65535), (1, grey), (0, grey)):
        (image,) = decoded(tiff(samples, 16, 2, more={338: [extra]}))
        np.testing.assert_array_equal(image.pixels, stretched(wanted))
    pair = bits(12, 2)
    (image,) = decoded(tiff(pair, 12, 0, more={338: [2]}))
    np.testing.assert_array_equal(image.pixels, stretched((4095 - pair[..., 0]) * pair[..., 1] / 4095))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_palettes(decoded: Decode, depth: int) -> None:
    indices, table = bits(depth), RANDOM.integers(0, 65536, (3, 1 << depth))
    wanted = pillows("RGB", (table // 256).T[indices[..., 0]])
    (image,) = decoded(tiff(indices, depth, 3, more={320: table.ravel().tolist()}))
    np.testing.assert_array_equal(image.pixels, wanted)
    (image,) = decoded(tiff(indices, depth, 3, more={320: (table // 256).ravel().tolist()}))  # a map of 8 bits
    np.testing.assert_array_equal(image.pixels, wanted)
    with pytest.raises(ImageError, match="palette"):
        decoded(tiff(indices, depth, 3, more={320: table.ravel().tolist()[:-1]}))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_jpeg_is_what_libtiff_makes_of_it(decoded: Decode, order: str, big: bool) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(80))[..., None] * np.array([1, 1.3, 0.4])
    rgb = ramp.astype(np.uint8)
    how: dict[str, Any] = {"compression": "jpeg", "byteorder": order, "bigtiff": big}
    layouts: list[dict[str, Any]] = [{"tile": (32, 32)}, {"rowsperstrip": 32}]
    for layout, subsampling in product(layouts, ((1, 1), (2, 1), (2, 2))):
        data = written(rgb, photometric="ycbcr", subsampling=subsampling, **how, **layout)
        wanted = np.asarray(Image.fromarray(imagecodecs.tiff_decode(data)).convert("L"))
        np.testing.assert_array_equal(decoded(data)[0].pixels, wanted)
    for photometric, content in (("rgb", rgb), ("minisblack", rgb[..., 0]), ("miniswhite", rgb[..., 0])):
        data = written(content, photometric=photometric, **how)
        wanted = np.asarray(Image.fromarray(imagecodecs.tiff_decode(data)).convert("L"))
        np.testing.assert_array_equal(decoded(data)[0].pixels, wanted, photometric)


def test_jpeg_of_cmyk_and_of_planes(decoded: Decode) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(80))[..., None] * np.array([1, 1.3, 0.4, 0.2])
    cmyk = ramp.astype(np.uint8)
    data = written(cmyk, photometric="separated", compression="jpeg")
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").convert("L"))
    np.testing.assert_array_equal(decoded(data)[0].pixels, wanted)
    planes = np.moveaxis(cmyk[..., :3], -1, 0)
    data = written(planes, photometric="rgb", planarconfig="separate", compression="jpeg")
    wanted = np.asarray(Image.fromarray(imagecodecs.tiff_decode(data)).convert("L"))
    np.testing.assert_array_equal(decoded(data)[0].pixels, wanted)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_ycbcr_is_left_to_pillow(decoded: Decode, compression: str) -> None:
    buffer = io.BytesIO()
    Image.frombytes("YCbCr", (W, H), bits(8, 3).astype(np.uint8).tobytes()).save(
        buffer, "TIFF", compression=compression
    )
    (image,) = decoded(buffer.getvalue())
    np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(buffer).convert("L")))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax(decoded: Decode, compression: str) -> None:
    page = Image.fromarray(bits(1)[..., 0].astype(bool))
    buffer = io.BytesIO()
    page.save(buffer, "TIFF", compression=compression)
    np.testing.assert_array_equal(decoded(buffer.getvalue())[0].pixels, np.asarray(page) * 255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_jpeg_2000_inside_keeps_its_depth(decoded: Decode, order: str) -> None:
    """A code stream has a byte order of its own, to which tifffile's big-endian writer gives no thought."""
    for dtype, bands in product(("u1", "u2"), (1, 3)):
        samples = noise(dtype, bands).squeeze()
        photometric = "rgb" if bands == 3 else "minisblack"
        content = samples.byteswap() if order == ">" else samples
        data = written(content, photometric=photometric, compression="jpeg2000", byteorder=order, tile=(32, 32))
        grey = np.floor(luma(samples) + 0.5) if bands == 3 else samples
        np.testing.assert_array_equal(decoded(data)[0].pixels, grey if dtype == "u1" else stretched(grey))


UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].T, 8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation(decoded: Decode, orientation: int) -> None:
    for depth, bands, planar in product((8, 16), (1, 3), (1, 2)):
        samples = bits(depth, bands)
        grey = np.floor(luma(samples) + 0.5) if bands == 3 else samples[..., 0]
        data = tiff(samples, depth, 2 if bands == 3 else 1, planar=planar, order=">", more={274: [orientation]})
        wanted = UPRIGHT[orientation](grey if depth == 8 else stretched(grey))
        np.testing.assert_array_equal(decoded(data)[0].pixels, wanted)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_of_several_pages_the_first(decoded: Decode, big: bool, order: str) -> None:
    pages = RANDOM.integers(0, 65536, (3, H, W)).astype(np.uint16)
    how: dict[str, Any] = {"byteorder": order, "bigtiff": big, "photometric": "minisblack"}
    (image,) = decoded(written(pages, **how))
    np.testing.assert_array_equal(image.pixels, stretched(pages[0]))
    assert "multi_page" in image.flags
    assert "multi_page" not in decoded(written(pages[0], **how))[0].flags


# ---- what is refused, and why ----------------------------------------------------------------------------------


def refused(decoded: Decode, data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decoded(data)
    return caught.value


def test_kinds_that_are_not_read_say_so(decoded: Decode) -> None:
    grey, rgb, four = bits(8), bits(8, 3), bits(16, 4)
    cases = {
        "0 is black or white": tiff(grey, 8, 1, without=(262,)),
        "CMYK is read with 8 bits": tiff(four, 16, 5),
        "colours of kind 8": tiff(rgb, 8, 8),
        "colours of kind 5": tiff(bits(8, 4), 8, 5, more={332: [2]}),
        "of one size": tiff(rgb, 8, 2, more={258: [8, 8, 4]}),
        "samples of 24 bits": tiff(bits(24), 24, 1),
        "predictor without compression": tiff(grey, 8, 1, more={317: [2]}),
        "predictor over samples of 12 bits": tiff(bits(12), 12, 1, compression=5, more={317: [2]}),
        "compression 50002": tiff(grey, 8, 1, more={259: [50002]}),
        "volumes": tiff(grey, 8, 1, more={32997: [2]}),
        "unsigned samples only": tiff(four, 16, 2, more={338: [2], 339: [2, 2, 2, 2]}),
        "as integers or floating point": written(noise("f4")[..., 0].astype("c8"), photometric="minisblack"),
    }
    for words, data in cases.items():
        error = refused(decoded, data)
        assert error.code == "unsupported_image", words
        assert words in error.message


def test_values_that_are_not_numbers(decoded: Decode) -> None:
    for dtype, value in product(FLOATS, (np.nan, np.inf, -np.inf)):
        samples = noise(dtype)[..., 0]
        samples[3, 3] = value
        assert refused(decoded, written(samples)).code == "corrupt_image"
    samples = noise("f8")[..., 0]
    samples[0, 0], samples[0, 1] = 1.7e308, -1.7e308
    assert "span more" in refused(decoded, written(samples)).message


def test_code_streams_that_are_not_what_the_header_says(decoded: Decode) -> None:
    """16 bits behind a header that says 8 would wrap around."""
    data = written(noise("u2")[..., 0], compression="jpeg2000", photometric="minisblack")
    at = data.index(struct.pack("<HHI", 258, 3, 1)) + 8
    assert refused(decoded, data[:at] + struct.pack("<H", 8) + data[at + 2 :]).code == "corrupt_image"


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 34925, 50000])
def test_missing_strips(decoded: Decode, compression: int) -> None:
    whole = tiff(bits(16), 16, 1, compression=compression, rows=H)
    start = whole.index(struct.pack("<HHI", 279, 4, 1)) + 8  # the directory stands behind the strip: the strip is moved
    size = struct.unpack_from("<I", whole, start)[0]
    moved = whole.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, len(whole)))
    moved += whole[8 : 8 + size]
    assert decoded(moved)
    for cut in (size // 2, size):
        assert refused(decoded, moved[:-cut]).code == "truncated"
    assert refused(decoded, tiff(bits(16), 16, 1, compression=compression, more={273: [8]})).code == "truncated"


def test_claims_are_checked_before_anything_is_allocated(decoded: Decode) -> None:
    claims = ({256: [65535], 257: [65535]}, {322: [65520], 323: [65520]}, {256: [9000], 257: [20000], 277: [8]})
    for more in claims:
        assert refused(decoded, tiff(bits(8), 8, 1, compression=8, more=more)).code == "too_many_pixels", more


@pytest.mark.parametrize("big", [False, True])
def test_more_strips_than_a_picture_can_have(decoded: Decode, big: bool) -> None:
    data = bytearray(written(bits(8)[..., 0].astype(np.uint8), bigtiff=big))
    at = data.index(struct.pack("<HHQ" if big else "<HHI", 273, 16 if big else 4, 1)) + 4
    data[at : at + 4] = struct.pack("<I", (1 << 20) + 1)
    assert "strips or tiles" in refused(decoded, bytes(data)).message
