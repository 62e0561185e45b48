"""Lookup tables that do not keep to their descriptor: grey levels by the real entries, as other viewers show them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cxrzero.errors import ImageError
from tests.support.dicomfile import As, Decode, dicom_bytes

VALUES = (np.arange(20 * 30).reshape(20, 30) * 7 % 1024).astype(np.uint16)
# A curve over 10-bit values: 12-bit entries, both ends in use.
CURVE = [int((i / 1023) ** 0.6 * 4095) for i in range(1024)]
WINDOW: dict[str, Any] = {"WindowCenter": "500", "WindowWidth": "300"}


def grey(table: list[int], bits: int, first: int = 0, values: np.ndarray = VALUES) -> np.ndarray:
    """PS3.3, C.11.1.1.1, with `bits` bits a whole entry; halves rounded up."""
    entries = [table[min(max(int(v) - first, 0), len(table) - 1)] for v in values.ravel()]
    return np.array([math.floor(255 * e / (2**bits - 1) + 0.5) for e in entries], np.uint8).reshape(values.shape)


def item(descriptor: Any, data: Any) -> dict[str, Any]:
    return {"LUTDescriptor": descriptor, "LUTData": data}


def packed(table: list[int], stated: int, entries: int | None = None) -> dict[str, Any]:
    return item([len(table) if entries is None else entries, 0, stated], As("OW", bytes(table)))


def shown(decoded: Decode, *items: dict[str, Any], syntax: str = "explicit", **more: Any) -> np.ndarray:
    (image,) = decoded(dicom_bytes(VALUES, syntax, BitsStored=10, VOILUTSequence=list(items), **more))
    return image.pixels


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big_endian"])
@pytest.mark.parametrize("stated", [8, 10, 12, 13, 16, 0, 7, 32])
def test_the_largest_entry_says_how_many_bits(decoded: Decode, syntax: str, stated: int) -> None:
    """Agfa states 16 bits and uses 12: by the letter, the picture is 0 to 16 of 255."""
    got = shown(decoded, item([1024, 0, stated], CURVE), syntax=syntax)
    np.testing.assert_array_equal(got, grey(CURVE, 12))
    assert got.max() == 255


@pytest.mark.parametrize(
    ("stated", "largest", "bits"),
    [(12, 4095, 12), (16, 65535, 16), (16, 65000, 16), (16, 32768, 16), (16, 32767, 15), (16, 4095, 12), (12, 3000, 12),
     (16, 1023, 10), (16, 255, 8), (16, 100, 8), (8, 255, 8), (8, 127, 8)],
)  # fmt: skip
def test_a_table_that_needs_its_bits_is_left_alone(decoded: Decode, stated: int, largest: int, bits: int) -> None:
    """An output that uses part of the range on purpose stays as it is, as long as it needs the bits that are stated."""
    table = [i * largest // 1023 for i in range(1024)]
    np.testing.assert_array_equal(shown(decoded, item([1024, 0, stated], table)), grey(table, bits))


@pytest.mark.parametrize(("stated", "largest"), [(12, 4096), (12, 4100), (8, 256), (10, 1100), (10, 40000)])
def test_the_largest_of_entries_that_need_more_bits_than_stated_is_white(
    decoded: Decode, stated: int, largest: int
) -> None:
    """4096 needs 13 bits: by these, a table of 12 would make a picture half as bright."""
    table = [i * largest // 1023 for i in range(1024)]
    got = shown(decoded, item([1024, 0, stated], table))
    wanted = [math.floor(255 * table[v] / largest + 0.5) for v in VALUES.ravel()]
    np.testing.assert_array_equal(got.ravel(), wanted)


@pytest.mark.parametrize("entries", [1025, 1023, 1026, 1, 900, 4096, 0])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_data_say_how_many_entries(decoded: Decode, keyword: str, entries: int) -> None:
    attributes: dict[str, Any] = {keyword: [item([entries, 0, 12], CURVE)]}
    if keyword[0] == "M":
        attributes |= {"WindowCenter": "2048", "WindowWidth": "4096"}
    content = dicom_bytes(VALUES, BitsStored=10, **attributes)  # fmt: skip
    np.testing.assert_array_equal(decoded(content)[0].pixels, grey(CURVE, 12))


EIGHT = [entry // 16 for entry in CURVE]


@pytest.mark.parametrize("stated", [8, 12, 16])
def test_bytes_two_to_a_word(decoded: Decode, stated: int) -> None:
    """As many bytes as entries are bytes, whatever bits are stated (dcm4che reads them so, too)."""
    np.testing.assert_array_equal(shown(decoded, packed(EIGHT, stated)), EIGHT_GREY)


@pytest.mark.parametrize("entries", [1025, 1022, 1030])
def test_bytes_of_another_number(decoded: Decode, entries: int) -> None:
    np.testing.assert_array_equal(shown(decoded, packed(EIGHT, 8, entries)), EIGHT_GREY)


EIGHT_GREY = grey(EIGHT, 8)


def test_a_table_of_one_entry(decoded: Decode) -> None:
    np.testing.assert_array_equal(shown(decoded, item([1, 0, 12], [4000])), grey([4000], 12))


def test_a_table_of_zeros_is_black(decoded: Decode) -> None:
    assert shown(decoded, item([1024, 0, 16], [0] * 1024)).max() == 0


@pytest.mark.parametrize(
    "descriptor", [[1024, 0, 12, 0], As("SS", [1024, 0, 12]), As("OW", b"\0\4\0\0\x0c\0")], ids=str
)
def test_descriptors_written_otherwise(decoded: Decode, descriptor: Any) -> None:
    np.testing.assert_array_equal(shown(decoded, item(descriptor, CURVE)), grey(CURVE, 12))


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_a_first_value_of_the_wrong_sign(decoded: Decode, vr: str) -> None:
    """−500 in unsigned pixels: 65036 would map every pixel to the first entry, a black picture."""
    descriptor = As(vr, [1024, -500 if vr == "SS" else 65036, 12])
    np.testing.assert_array_equal(shown(decoded, item(descriptor, CURVE)), grey(CURVE, 12, first=-500))


def test_a_large_first_value_of_values_that_may_be_negative(decoded: Decode) -> None:
    stored = VALUES * 64
    content = dicom_bytes(stored, RescaleSlope="1", RescaleIntercept="-5",
                          VOILUTSequence=[item([1024, 60000, 12], CURVE)])  # fmt: skip
    wanted = grey(CURVE, 12, first=60000, values=stored.astype(int) - 5)
    np.testing.assert_array_equal(decoded(content)[0].pixels, wanted)


BROKEN = [{"LUTDescriptor": [1024, 0, 12]}, {"LUTData": CURVE}, item([1024, 0, 12], As("OW", b"")),
          item([1024, 0], CURVE)]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda v: "+".join(v))
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_an_item_that_is_not_whole(decoded: Decode, syntax: str, broken: dict[str, Any]) -> None:
    """Beside a window or another item, those are used; alone, it is an error."""
    (windowed,) = decoded(dicom_bytes(VALUES, BitsStored=10, **WINDOW))
    np.testing.assert_array_equal(shown(decoded, broken, syntax=syntax, **WINDOW), windowed.pixels)
    np.testing.assert_array_equal(shown(decoded, broken, item([1024, 0, 12], CURVE), syntax=syntax), grey(CURVE, 12))
    with pytest.raises(ImageError, match="bad_lut"):
        shown(decoded, broken, syntax=syntax)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda v: "+".join(v))
def test_a_modality_item_that_is_not_whole(decoded: Decode, broken: dict[str, Any]) -> None:
    rescale: dict[str, Any] = {
        "RescaleSlope": "2",
        "RescaleIntercept": "-100",
        "WindowCenter": "900",
        "WindowWidth": "700",
    }
    (wanted,) = decoded(dicom_bytes(VALUES, BitsStored=10, **rescale))
    (image,) = decoded(dicom_bytes(VALUES, BitsStored=10, ModalityLUTSequence=[broken], **rescale))
    np.testing.assert_array_equal(image.pixels, wanted.pixels)


@pytest.mark.parametrize("items", [[], [{}], [{"LUTExplanation": "NORMAL"}]], ids=str)
def test_a_sequence_without_tables_is_none(decoded: Decode, items: list[dict[str, Any]]) -> None:
    (plain,) = decoded(dicom_bytes(VALUES, BitsStored=10))
    np.testing.assert_array_equal(shown(decoded, *items), plain.pixels)


def test_the_first_of_several(decoded: Decode) -> None:
    items = (item([1024, 0, 12], CURVE), item([1024, 0, 12], CURVE[::-1]))
    np.testing.assert_array_equal(shown(decoded, *items), grey(CURVE, 12))
