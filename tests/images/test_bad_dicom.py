"""Broken and hostile DICOM files: each ends in the typed error that says why, fast and in little memory."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.errors import ImageError, SkippedImage
from cxrzero.images import DecodeOptions, codecs, decode
from cxrzero.images.radiograph import Facts
from tests.support.dicomfile import (
    CR_STORAGE,
    LOSSLESS,
    SYNTAXES,
    As,
    Decode,
    dicom_bytes,
    encapsulate,
    encode_element,
    encode_frame,
    file_meta,
)

PICTURE = (np.add.outer(np.arange(64), np.arange(80)) * 7 % 4096).astype(np.uint16)
GOOD: dict[str, Any] = {"BitsStored": 12}


def error_of(decoded: Decode, content: bytes, options: DecodeOptions | None = None) -> ImageError:
    """The error, after checking that it came in time."""
    start = time.monotonic()
    with pytest.raises(ImageError) as caught:
        decoded(content, options)
    assert time.monotonic() - start < 10
    return caught.value


LUT = {"LUTDescriptor": [256, 0, 16], "LUTData": list(range(256))}

BAD_HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("truncated", {"Rows": 65}),
    ("truncated", {"BitsAllocated": 32}),
    ("truncated", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
    ("truncated", {"NumberOfFrames": 2}),
    ("bad_header", {"Rows": 0}),
    ("bad_header", {"Rows": None}),
    ("bad_header", {"Columns": None}),
    ("bad_header", {"BitsAllocated": None}),
    ("bad_header", {"BitsStored": 0}),
    ("bad_header", {"BitsStored": 17}),
    ("bad_header", {"HighBit": 3}),
    ("bad_header", {"HighBit": 16}),
    ("bad_header", {"NumberOfFrames": "-1"}),
    ("bad_header", {"NumberOfFrames": "many"}),
    ("bad_header", {"NumberOfFrames": "1.5"}),
    ("bad_header", {"Rows": As("LO", "sixty-four")}),
    ("unsupported_pixels", {"BitsAllocated": 24}),
    ("unsupported_pixels", {"BitsAllocated": 64}),
    ("unsupported_pixels", {"BitsAllocated": 7}),
    ("unsupported_pixels", {"SamplesPerPixel": 2}),
    ("unsupported_pixels", {"SamplesPerPixel": 0}),
    ("unsupported_photometric_interpretation", {"PhotometricInterpretation": None}),
    ("unsupported_photometric_interpretation", {"PhotometricInterpretation": "HSV"}),
    ("unsupported_photometric_interpretation", {"PhotometricInterpretation": "RGB"}),
    ("bad_lut", {"PhotometricInterpretation": "PALETTE COLOR"}),
    ("too_many_pixels", {"Rows": 60000, "Columns": 60000}),
    ("too_many_pixels", {"NumberOfFrames": "1000000000"}),
    ("bad_window", {"WindowCenter": "100", "WindowWidth": "0"}),
    ("bad_window", {"WindowCenter": "100", "WindowWidth": "-5"}),
    ("bad_window", {"WindowCenter": "100", "WindowWidth": "nan"}),
    ("bad_window", {"WindowCenter": "inf", "WindowWidth": "10"}),
    ("bad_window", {"WindowCenter": "1", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"}),
    ("bad_window", {"WindowCenter": "1", "WindowWidth": "0", "VOILUTFunction": "LINEAR_EXACT"}),
    ("bad_window", {"WindowCenter": "1", "WindowWidth": "9", "VOILUTFunction": "CUBIC"}),
    ("bad_rescale", {"RescaleSlope": "0", "RescaleIntercept": "0"}),
    ("bad_rescale", {"RescaleSlope": "nan", "RescaleIntercept": "0"}),
    ("bad_rescale", {"RescaleSlope": "1e300", "RescaleIntercept": "0"}),
    ("bad_rescale", {"RescaleSlope": "1", "RescaleIntercept": "-inf"}),
    ("bad_pixel_spacing", {"PixelSpacing": ["1e9", "1e-9"]}),
    ("bad_pixel_spacing", {"PixelAspectRatio": [1000, 1]}),
    ("bad_lut", {"VOILUTSequence": [LUT | {"LUTDescriptor": [256, 0]}]}),
    ("bad_lut", {"VOILUTSequence": [{"LUTDescriptor": [256, 0, 16]}]}),
    ("bad_lut", {"ModalityLUTSequence": [{"LUTData": [1, 2]}]}),
    ("bad_lut", {"VOILUTSequence": [{"LUTDescriptor": [256, 0, 16], "LUTData": As("OW", b"")}]}),
    ("bad_lut", {"VOILUTSequence": [{"LUTDescriptor": [256, 0, 16]}], "WindowCenter": "5", "WindowWidth": ""}),
    ("bad_lut", {"ModalityLUTSequence": [{"LUTDescriptor": [256, 0, 16]}]}),
    ("bad_header", {"VOILUTSequence": As("LO", "not a sequence")}),
]  # fmt: skip


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
@pytest.mark.parametrize(("code", "attributes"), BAD_HEADERS, ids=lambda v: str(v)[:60])
def test_header_that_cannot_be(decoded: Decode, syntax: str, code: str, attributes: dict[str, Any]) -> None:
    if syntax == "implicit" and any(isinstance(value, As) for value in attributes.values()):
        pytest.skip("implicit VR cannot state a wrong VR")
    assert error_of(decoded, dicom_bytes(PICTURE, syntax, **(GOOD | attributes))).code == code


@pytest.mark.parametrize("value", [-1, -32768])
def test_negative_padding_in_unsigned_pixels_is_harmless(decoded: Decode, value: int) -> None:
    (image,) = decoded(dicom_bytes(PICTURE, PixelPaddingValue=As("SS", value), **GOOD))
    np.testing.assert_array_equal(image.pixels, decoded(dicom_bytes(PICTURE, **GOOD))[0].pixels)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_truncated_anywhere(decoded: Decode, syntax: str) -> None:
    """A file that ends before its last pixel is never an image: not even a half-grey one."""
    content = dicom_bytes(PICTURE, syntax, **GOOD)
    # Encapsulated pixels are followed by an 8-byte delimiter and at most one byte of padding.
    last = len(content) - (10 if syntax in LOSSLESS[4:] else 1)
    for end in [132, *range(140, last, max(1, last // 60)), last]:
        assert error_of(decoded, content[:end]).code in ("truncated", "bad_header", "no_pixel_data"), end
    assert error_of(decoded, content[:last]).code == "truncated"


LOSSY_AND_NOT = ["jpeg_baseline", "jpeg_extended", "jpeg_lossless", "jpegls", "jpeg2000", "htj2k", "rle"]


@pytest.mark.parametrize("syntax", LOSSY_AND_NOT)
def test_truncated_code_stream_in_a_whole_file(decoded: Decode, syntax: str) -> None:
    picture = (PICTURE // 16).astype(np.uint8)
    stream = encode_frame(picture, syntax, 8)
    for end in (len(stream) // 3, len(stream) * 2 // 3, len(stream) - 3):
        content = dicom_bytes(
            encapsulate([stream[:end]]), syntax, Rows=64, Columns=80, BitsAllocated=8, BitsStored=8, HighBit=7,
            PixelRepresentation=0,
        )  # fmt: skip
        assert error_of(decoded, content).code in ("truncated", "corrupt_codestream")


@pytest.mark.parametrize("syntax", ["jpeg_baseline", "jpeg_lossless", "jpegls", "jpeg2000", "htj2k"])
def test_code_stream_of_another_size(decoded: Decode, syntax: str) -> None:
    stream = encode_frame((PICTURE // 16).astype(np.uint8), syntax, 8)
    content = dicom_bytes(
        encapsulate([stream]), syntax, Rows=80, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelRepresentation=0,
    )  # fmt: skip
    assert error_of(decoded, content).code == "size_mismatch"


def test_code_stream_that_claims_more_than_the_header(decoded: Decode) -> None:
    """Found by its header: nothing is allocated for its 4 billion pixels."""
    stream = bytearray(encode_frame((PICTURE // 16).astype(np.uint8), "jpeg_baseline", 8))
    at = stream.index(b"\xff\xc0") + 5
    stream[at : at + 4] = struct.pack(">HH", 65500, 65500)
    content = dicom_bytes(
        encapsulate([bytes(stream)]), "jpeg_baseline", Rows=64, Columns=80, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelRepresentation=0,
    )  # fmt: skip
    assert error_of(decoded, content).code == "size_mismatch"


def test_fewer_frames_than_stated(decoded: Decode) -> None:
    content = dicom_bytes([PICTURE, PICTURE], "jpegls", **(GOOD | {"NumberOfFrames": 3}))
    assert error_of(decoded, content).code in ("truncated", "corrupt_codestream")


def test_unknown_transfer_syntax(decoded: Decode) -> None:
    content = dicom_bytes(PICTURE, "jpegls", **GOOD).replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.99")
    assert error_of(decoded, content).code == "unsupported_transfer_syntax"


@pytest.mark.parametrize(
    ("stated", "body", "code", "words"),
    [("explicit", dicom_bytes(PICTURE, "rle", preamble=False, **GOOD),
      "corrupt_codestream", "the pixels are compressed, the transfer syntax says they are not"),
     ("explicit", dicom_bytes(PICTURE, preamble=False, pixel_length=0xFFFFFFFF, **GOOD),
      "corrupt_codestream", "states no length and has no fragments"),
     ("jpegls", dicom_bytes(PICTURE.tobytes() + b"more", preamble=False, Rows=64, Columns=80, BitsAllocated=16, **GOOD),
      "corrupt_codestream", "says that the pixels are compressed; they are not"),
     ("jpegls", dicom_bytes(PICTURE, "jpeg_lossless", preamble=False, **GOOD),
      "corrupt_codestream", "(lossless JPEG) cannot be decoded"),
     ("jpeg2000", dicom_bytes(PICTURE, "jpegls", preamble=False, **GOOD),
      "corrupt_codestream", "(JPEG-LS) cannot be decoded"),
     ("explicit", dicom_bytes(PICTURE, "big_endian", preamble=False, **GOOD), "bad_header", "byte order"),
     ("big_endian", dicom_bytes(PICTURE, preamble=False, **GOOD), "bad_header", "byte order"),
     ("deflated", dicom_bytes(PICTURE, preamble=False, **GOOD), "bad_header", "says that the file is deflated"),
     ("deflated", zlib.compress(dicom_bytes(PICTURE, preamble=False, **GOOD)), "bad_header", "says that the file is"),
     ("explicit", dicom_bytes(PICTURE, preamble=False, pixel_vr="ox", **GOOD), "bad_header", "VR that it cannot have"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else "",
)  # fmt: skip
def test_what_neither_gdcm_nor_dcmtk_reads_is_named(
    decoded: Decode, stated: str, body: bytes, code: str, words: str
) -> None:
    error = error_of(decoded, file_meta(SYNTAXES[stated], CR_STORAGE) + body)
    assert error.code == code
    assert words in error.message


def test_private_pixels_of_another_length(decoded: Decode) -> None:
    """A private transfer syntax may compress without fragments; its pixels are not called truncated then."""
    body = dicom_bytes(PICTURE.tobytes()[:1000], preamble=False, Rows=64, Columns=80, BitsAllocated=16, **GOOD)
    error = error_of(decoded, file_meta("1.2.3.4.5", CR_STORAGE) + body)
    assert error.code == "unsupported_transfer_syntax"
    assert "1.2.3.4.5 is not known" in error.message


def test_many_empty_fragments(decoded: Decode) -> None:
    """Each of 300,000 would cost memory, and says nothing."""
    content = dicom_bytes(struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 300_000, "jpegls", Rows=64, Columns=80,
                          BitsAllocated=16, **GOOD)  # fmt: skip
    assert error_of(decoded, content).code == "corrupt_codestream"


@pytest.mark.parametrize("length", [0, 2, 0xFFFFFFFE])
def test_pixel_length_that_lies(decoded: Decode, length: int) -> None:
    content = dicom_bytes(PICTURE, pixel_length=length, **GOOD)
    if length > len(content):  # all the pixels are there: a wrong length hurts nobody
        assert decoded(content)[0].pixels.shape == PICTURE.shape
    else:
        assert error_of(decoded, content).code == "truncated"


@pytest.mark.parametrize("attributes", [{"Rows": 64, "Columns": 80}, {}, {"Modality": ""}], ids=str)
def test_pixels_missing(decoded: Decode, attributes: dict[str, Any]) -> None:
    """A radiograph's SOP class tells that pixels are missing, also where the file ends before its Rows."""
    assert error_of(decoded, dicom_bytes(None, **attributes)).code == "no_pixel_data"


@pytest.mark.parametrize("closed", [True, False])
def test_deep_sequences(decoded: Decode, closed: bool) -> None:
    """100,000 nested items of undefined length."""
    open_item = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    close = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    nested = open_item * 100_000 + (close * 100_000 if closed else b"")
    content = dicom_bytes(PICTURE, **GOOD)
    at = content.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    assert error_of(decoded, content[:at] + nested + content[at:]).code in ("bad_header", "truncated")


def test_deflate_bomb(decoded: Decode) -> None:
    """1 MB that inflates to 1 GB is refused while it grows."""
    deflater = zlib.compressobj(9, wbits=-15)
    element = encode_element(0x7FE00010, "OW", b"", False, "<", length=2**30)
    head = deflater.compress(element) + deflater.flush(zlib.Z_FULL_FLUSH)
    zeros = deflater.compress(bytes(2**24)) + deflater.flush(zlib.Z_FULL_FLUSH)  # from nothing, so it may be repeated
    stream = head + zeros * 64 + deflater.flush()
    content = file_meta("1.2.840.10008.1.2.1.99", "1.2.840.10008.5.1.4.1.1.1") + stream
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert error_of(decoded, content).code == "file_too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024**2  # KiB


def test_a_length_of_4_gb_is_not_allocated(decoded: Decode) -> None:
    content = dicom_bytes(PICTURE, **GOOD)
    bomb = encode_element(0x00080016, "UN", b"", False, "<", length=0xFFFFFFF0)
    at = content.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    assert error_of(decoded, content[:at] + bomb + content[at:]).code in ("truncated", "bad_header")


def test_empty_and_foreign_files(decoded: Decode, tmp_path: Path) -> None:
    assert error_of(decoded, b"").code == "empty_file"
    assert error_of(decoded, b"Dear colleague,\n").code == "not_an_image"
    assert error_of(decoded, b"\0" * 128 + b"DICM").code in ("truncated", "no_pixels", "bad_header")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ImageError, match="unreadable"):
            list(decode(path))


# ---- decoders ---------------------------------------------------------------------------------------------------


def test_a_decoder_that_fails_is_followed_by_the_next(decoded: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    content = dicom_bytes(PICTURE, "jpeg_lossless_sv1", **GOOD)
    (first,) = decoded(content)
    assert first.decoder == "imagecodecs/jpeg8"

    def broken(*_: object) -> np.ndarray:
        raise RuntimeError("claims the codec, cannot decode it")

    chain = codecs.DECODERS["1.2.840.10008.1.2.4.70"]
    replaced = {**codecs.DECODERS, "1.2.840.10008.1.2.4.70": (("broken", broken), *chain[1:])}
    monkeypatch.setattr(codecs, "DECODERS", replaced)
    (second,) = decoded(content)
    assert second.decoder == "imagecodecs/ljpeg"
    np.testing.assert_array_equal(first.pixels, second.pixels)

    monkeypatch.setattr(codecs, "DECODERS", {"1.2.840.10008.1.2.4.70": (("broken", broken),)})
    error = error_of(decoded, content)
    assert error.code == "corrupt_codestream"
    assert "tried broken" in error.message


def test_a_codec_missing_from_the_install(decoded: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    """imagecodecs builds without a codec put a stub in its place that raises when it is called."""
    import imagecodecs

    def stub(*_: object, **__: object) -> None:
        raise imagecodecs.DelayedImportError("jpegls_decode")

    monkeypatch.setattr(imagecodecs, "jpegls_decode", stub)
    assert error_of(decoded, dicom_bytes(PICTURE, "jpegls", **GOOD)).code == "missing_codec"


# ---- what is not a radiograph -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "attributes"),
    [("not_projection_radiography", {"Modality": m}) for m in ("CT", "MR", "US", "NM", "XA", "RF", "PT", "XC", "SEG")]
    + [("not_chest_modality", {"Modality": m}) for m in ("MG", "PX", "IO")]
    + [("not_projection_radiography", {"Modality": "", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"})]
    + [("not_projection_radiography", {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"})],
)  # fmt: skip
def test_skipped_with_its_facts(decoded: Decode, code: str, attributes: dict[str, Any]) -> None:
    with pytest.raises(SkippedImage) as caught:
        decoded(dicom_bytes(PICTURE, **(GOOD | attributes)))
    assert caught.value.code == code
    assert caught.value.facts is not None
    assert Facts(*caught.value.facts).study_instance_uid == "2.25.2"


def test_no_pixels(decoded: Decode) -> None:
    with pytest.raises(SkippedImage, match="no_pixels"):
        decoded(dicom_bytes(None, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"))


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "", "OT"])
def test_projection_radiography_is_never_dropped(decoded: Decode, modality: str) -> None:
    (image,) = decoded(dicom_bytes(PICTURE, **(GOOD | {"Modality": modality})))
    assert image.facts.modality == modality


@pytest.mark.parametrize(("code", "attributes"), BAD_HEADERS, ids=lambda v: str(v)[:60])
def test_errors_carry_facts_and_identify_nobody(
    decoded: Decode, code: str, attributes: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    error = error_of(decoded, dicom_bytes(PICTURE, **(GOOD | attributes)))
    assert error.facts is not None
    assert Facts(*error.facts).sop_instance_uid == "2.25.1"
    said = str(error) + repr(error.facts) + caplog.text + "".join(capfd.readouterr())
    assert "SECRET" not in said
