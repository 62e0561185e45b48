"""Fragments, offset tables and stream ends as real files have them: the picture is the undamaged one's.

Each is read by dcmtk, by GDCM, or by both.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import ImageError
from tests.support.dicomfile import CR_STORAGE, SYNTAXES, As, Decode, dicom_bytes, encapsulate, encode_frame, file_meta

PICTURE = (np.add.outer(np.arange(24) ** 2, np.arange(20) * 31) % 4096).astype(np.uint16)
FRAMES = [PICTURE, PICTURE[::-1].copy(), PICTURE // 2]
HEADER: dict[str, Any] = {"Rows": 24, "Columns": 20, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
                          "PixelRepresentation": 0}  # fmt: skip
LOSSLESS = ["rle", "jpeg_lossless_sv1", "jpegls", "jpeg2000_lossless", "htj2k_lossless"]
JPEGS = LOSSLESS[1:]
DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def stream(syntax: str, picture: np.ndarray = PICTURE) -> bytes:
    return even(encode_frame(picture, syntax, 12))


def film(pixels: bytes, syntax: str, **more: Any) -> bytes:
    return dicom_bytes(pixels, syntax, **(HEADER | more))


def undamaged(decoded: Decode) -> list[np.ndarray]:
    return [decoded(dicom_bytes(frame, BitsStored=12))[0].pixels for frame in FRAMES]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("tail", [b"\0" * 2, b"\0" * 64, b"\0" * 100_000, b"\xff" * 64, bytes(range(1, 65))],
                         ids=["2 zeros", "64 zeros", "100000 zeros", "64 FF", "64 others"])  # fmt: skip
def test_padding_behind_the_end(decoded: Decode, syntax: str, tail: bytes) -> None:
    content = film(encapsulate([stream(syntax) + tail]), syntax)
    np.testing.assert_array_equal(decoded(content)[0].pixels, undamaged(decoded)[0])


@pytest.mark.parametrize("syntax", JPEGS)
def test_without_its_end_marker_a_stream_is_truncated(decoded: Decode, syntax: str) -> None:
    """Neither dcmtk nor GDCM reads it."""
    cut = encode_frame(PICTURE, syntax, 12)[:-2]
    with pytest.raises(ImageError, match="end marker") as caught:
        decoded(film(encapsulate([cut]), syntax))
    assert caught.value.code == "truncated"


def test_a_jp2_file_with_boxes_behind_its_stream(decoded: Decode) -> None:
    boxed = imagecodecs.jpeg2k_encode(PICTURE, codecformat="JP2", reversible=True, level=0, bitspersample=12)
    uuid = struct.pack(">I4s", 120, b"uuid") + bytes(range(1, 113))
    content = film(encapsulate([bytes(boxed) + uuid]), "jpeg2000_lossless")
    np.testing.assert_array_equal(decoded(content)[0].pixels, undamaged(decoded)[0])


def test_tiles_and_their_lengths(decoded: Decode) -> None:
    """Several tile-parts, each with its length; or the last with a length of 0, which means up to the end."""
    buffer = io.BytesIO()
    picture = (PICTURE // 16).astype(np.uint8)
    Image.fromarray(picture).save(buffer, format="JPEG2000", no_jp2=True, tile_size=(8, 8))
    tiled = buffer.getvalue()
    assert tiled.count(b"\xff\x90\x00\x0a") == 9
    last = tiled.rindex(b"\xff\x90\x00\x0a")
    open_ended = tiled[: last + 6] + bytes(4) + tiled[last + 10 :]
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    (wanted,) = decoded(dicom_bytes(picture))
    for whole in (tiled, open_ended):
        content = film(encapsulate([whole + bytes(64)]), "jpeg2000_lossless", **eight)
        np.testing.assert_array_equal(decoded(content)[0].pixels, wanted.pixels)
        with pytest.raises(ImageError, match="truncated"):
            decoded(film(encapsulate([whole[: last + 20] + bytes(64)]), "jpeg2000_lossless", **eight))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_one_frame(decoded: Decode, syntax: str) -> None:
    whole = stream(syntax)
    half, odd = len(whole) // 4 * 2, len(whole) // 4 * 2 + 1
    table = item(b"")
    variants = {
        "table of one": item(bytes(4)) + item(whole) + DELIMITER,
        "wrong table": item(struct.pack("<I", 40)) + item(whole) + DELIMITER,
        "table of two": item(struct.pack("<II", 0, 40)) + item(whole) + DELIMITER,
        "two fragments": table + item(whole[:half]) + item(whole[half:]) + DELIMITER,
        "fragments of odd lengths": table + item(whole[:odd]) + item(whole[odd:]) + DELIMITER,
        "pad beside an odd length": table + item(even(whole) + b"\0", len(even(whole)) + 1) + b"\0" + DELIMITER,
        "empty fragment": table + item(whole) + item(b"") + DELIMITER,
        "fragment of zeros": table + item(whole) + item(bytes(64)) + DELIMITER,
        "the frame again": table + item(whole) + item(whole) + DELIMITER,
        "no delimiter": table + item(whole),
        "half a delimiter": table + item(whole) + DELIMITER[:4],
        "delimiter with a length": table + item(whole) + DELIMITER[:4] + b"\x08\0\0\0",
        "no table": item(whole) + DELIMITER,
        "rubbish behind": table + item(whole) + DELIMITER + b"rubbish!" * 10,
    }
    (wanted, *_) = undamaged(decoded)
    for name, pixels in variants.items():
        (image,) = decoded(film(pixels, syntax, NumberOfFrames=0))
        np.testing.assert_array_equal(image.pixels, wanted, err_msg=name)
        sized = dicom_bytes(pixels, syntax, pixel_length=len(pixels), **HEADER)
        np.testing.assert_array_equal(decoded(sized)[0].pixels, wanted, err_msg=f"{name}, with a length")


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_several_frames(decoded: Decode, syntax: str) -> None:
    streams = [stream(syntax, frame) for frame in FRAMES]
    first, second, third = streams
    half = len(first) // 4 * 2
    split = item(first[:half]) + item(first[half:]) + item(second) + item(third) + DELIMITER
    starts = [0, 16 + len(first), 24 + len(first) + len(second)]
    variants = {
        "no table": item(b"") + b"".join(map(item, streams)) + DELIMITER,
        "wrong table": item(struct.pack("<III", 0, 4, 8)) + b"".join(map(item, streams)) + DELIMITER,
        "empty fragment": item(b"") + b"".join(map(item, streams)) + item(b"") + DELIMITER,
        "one too many": item(b"") + b"".join(map(item, [*streams, first])) + DELIMITER,
        "no delimiter": item(b"") + b"".join(map(item, streams)),
        "split, with a table": item(struct.pack("<III", *starts)) + split,
    }
    if syntax != "rle":  # whose fragments do not tell where a frame begins
        variants["split"] = item(b"") + split
        variants["split, with a wrong table"] = item(struct.pack("<III", 0, 100, 200)) + split
    for name, pixels in variants.items():
        images = decoded(film(pixels, syntax, NumberOfFrames=3))
        np.testing.assert_array_equal([image.pixels for image in images], undamaged(decoded), err_msg=name)
    extended = film(item(b"") + split, syntax, NumberOfFrames=3, ExtendedOffsetTable=As("OV", starts))
    np.testing.assert_array_equal([image.pixels for image in decoded(extended)], undamaged(decoded))


def test_frames_that_are_there_come_before_the_error(tmp_path: Any) -> None:
    from cxrzero.images import decode

    path = tmp_path / "image"
    path.write_bytes(film(encapsulate([stream("jpegls", frame) for frame in FRAMES]), "jpegls", NumberOfFrames=4))
    seen: list[int] = []
    with pytest.raises(ImageError, match="fewer frames"):
        seen.extend(image.frame for image in decode(path))
    frames = decode(path)
    assert [next(frames).frame for _ in range(3)] == [1, 2, 3]


def test_a_bare_code_stream(decoded: Decode) -> None:
    """No items at all: GDCM reads it."""
    for syntax in ("jpeg_lossless_sv1", "jpegls"):
        bare = stream(syntax)
        content = dicom_bytes(bare, syntax, pixel_length=len(bare), **HEADER)
        np.testing.assert_array_equal(decoded(content)[0].pixels, undamaged(decoded)[0])


@pytest.mark.parametrize("pixels", [item(b"") + DELIMITER, DELIMITER, item(bytes(4)) + DELIMITER])
def test_no_fragments(decoded: Decode, pixels: bytes) -> None:
    with pytest.raises(ImageError, match=r"corrupt_codestream: .* no fragments"):
        decoded(film(pixels, "jpegls"))


# ---- transfer syntaxes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["explicit", "implicit"])
@pytest.mark.parametrize(
    "syntax", ["1.3.46.670589.33.1.4.1", "1.2.3.4.5", "1.2.840.10008.1.20", *(SYNTAXES[s] for s in LOSSLESS)]
)
def test_uncompressed_pixels_in_a_syntax_that_is_private_or_lies(decoded: Decode, syntax: str, body: str) -> None:
    """dcmtk reads those of private syntaxes, GDCM those of compressed ones, too."""
    content = file_meta(syntax, CR_STORAGE) + dicom_bytes(PICTURE, body, preamble=False, BitsStored=12)
    np.testing.assert_array_equal(decoded(content)[0].pixels, undamaged(decoded)[0])


def test_the_private_syntax_with_big_endian_pixels(decoded: Decode) -> None:
    """1.2.840.113619.5.2 of General Electric: implicit little endian, and pixels in the other order (dcmtk, GDCM)."""
    body = dicom_bytes(PICTURE.byteswap().tobytes(), "implicit", preamble=False, **HEADER)
    content = file_meta("1.2.840.113619.5.2", CR_STORAGE) + body
    np.testing.assert_array_equal(decoded(content)[0].pixels, undamaged(decoded)[0])


@pytest.mark.parametrize("change", [50, -20, None])
def test_a_wrong_group_length(decoded: Decode, change: int | None) -> None:
    whole = dicom_bytes(PICTURE, BitsStored=12)
    stated = struct.unpack_from("<I", whole, 140)[0]
    wrong = b"" if change is None else whole[132:140] + struct.pack("<I", stated + change)
    np.testing.assert_array_equal(decoded(whole[:132] + wrong + whole[144:])[0].pixels, undamaged(decoded)[0])
