"""Every branch of the chain × every lossless encoding: pixels against the standard's equations, written out below.

The expectation is computed here, pixel by pixel, in exact fractions where the equations allow it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.support.dicomfile import LOSSLESS, Decode, dicom_bytes

ROWS, COLUMNS = 24, 22


def ramp(bits: int, signed: bool) -> np.ndarray:
    """Values over the whole range of `bits` bits, both ends included, in no simple order."""
    count = ROWS * COLUMNS
    values = [i * (2**bits - 1) // (count - 1) for i in range(count)]
    values = [values[(i * 173) % count] for i in range(count)]  # 173 and 528 have no common factor
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return np.array([v - 2 ** (bits - 1) * signed for v in values]).astype(dtype).reshape(ROWS, COLUMNS)


# ---- the standard, pixel by pixel -------------------------------------------------------------------------------


def look_up(x: Fraction, first: int, table: list[int]) -> int:
    """PS3.3, C.11.1.1.1: values below the first and above the last entry map to the first and the last."""
    return table[min(max(math.floor(x) - first, 0), len(table) - 1)]


def windowed(x: Fraction, c: Fraction, w: Fraction, function: str) -> Fraction | float:
    """PS3.3, C.11.2.1.2.1 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT), C.11.2.1.3.1 (SIGMOID), output 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * float((x - c) / w), 700)))
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return Fraction(0)
        return Fraction(1) if x > c + w / 2 else (x - c) / w + Fraction(1, 2)
    half = Fraction(1, 2)
    if x <= c - half - (w - 1) / 2:
        return Fraction(0)
    return Fraction(1) if x > c - half + (w - 1) / 2 else (x - (c - half)) / (w - 1) + half


def expected(
    stored: np.ndarray,
    *,
    rescale: tuple[str, str] | None = None,
    modality_lut: tuple[int, list[int]] | None = None,
    window: tuple[str, str, str] | None = None,
    voi_lut: tuple[int, int, list[int]] | None = None,
    invert: bool = False,
    padding: range | None = None,
) -> np.ndarray:
    values = [Fraction(int(v)) for v in stored.ravel()]
    padded = [padding is not None and int(v) in padding for v in values]
    if modality_lut:
        values = [Fraction(look_up(v, *modality_lut)) for v in values]
    elif rescale:
        values = [v * Fraction(rescale[0]) + Fraction(rescale[1]) for v in values]
    if voi_lut:
        first, bits, table = voi_lut
        y: list[Any] = [Fraction(look_up(v, first, table), 2**bits - 1) for v in values]
    elif window:
        y = [windowed(v, Fraction(window[0]), Fraction(window[1]), window[2]) for v in values]
    else:
        valid = [v for v, p in zip(values, padded, strict=True) if not p]
        low, high = min(valid), max(valid)
        y = [min(max((v - low) / (high - low), Fraction(0)), Fraction(1)) for v in values]
    if invert:
        y = [1 - v for v in y]
    halves = [Fraction(1, 2) if isinstance(v, Fraction) else 0.5 for v in y]
    grey = [0 if p else math.floor(255 * v + half) for v, p, half in zip(y, padded, halves, strict=True)]
    return np.array(grey, np.uint8).reshape(stored.shape)


def lut_item(first: int, bits: int, table: list[int]) -> dict[str, Any]:
    return {"LUTDescriptor": [len(table) % 65536, first % 65536, bits], "LUTData": table}


# ---- chain × encoding -------------------------------------------------------------------------------------------

DEPTHS = [(8, False), (10, False), (12, False), (15, False), (16, False), (12, True), (16, True)]
MODALITY: dict[str, dict[str, Any]] = {
    "plain": {},
    "rescale": {"rescale": ("0.5", "-100.25")},
    "modality_lut": {"modality_lut": (7, [(i * i) // 3 for i in range(200)])},
}
VOI: dict[str, dict[str, Any]] = {
    "range": {},
    "linear": {"window": ("120", "201", "LINEAR")},
    "default_function": {"window": ("100.5", "300", "")},
    "exact": {"window": ("96", "128.5", "LINEAR_EXACT")},
    "sigmoid": {"window": ("90", "150", "SIGMOID")},
    "voi_lut": {"voi_lut": (3, 12, [4095 - 13 * i for i in range(300)])},
}


def attributes_of(chain: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if "rescale" in chain:
        attributes |= {"RescaleSlope": chain["rescale"][0], "RescaleIntercept": chain["rescale"][1]}
    if "modality_lut" in chain:
        first, table = chain["modality_lut"]
        attributes["ModalityLUTSequence"] = [lut_item(first, 16, table)]
    if "voi_lut" in chain:
        attributes["VOILUTSequence"] = [lut_item(*chain["voi_lut"])]
        attributes |= {"WindowCenter": "1", "WindowWidth": "2"}  # the LUT comes first
    if "window" in chain:
        center, width, function = chain["window"]
        attributes |= {"WindowCenter": [center, "1"], "WindowWidth": [width, "2"]}  # the first of several counts
        if function:
            attributes["VOILUTFunction"] = function
    return attributes


@cache
def expected_chain(bits: int, signed: bool, modality: str, voi: str, photometric: str) -> np.ndarray:
    chain = MODALITY[modality] | VOI[voi]
    if "window" in chain:
        center, width, function = chain["window"]
        chain = chain | {"window": (center, width, function or "LINEAR")}
    return expected(ramp(bits, signed), invert=photometric == "MONOCHROME1", **chain)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("depth", DEPTHS, ids=lambda d: f"{d[0]}{'s' if d[1] else 'u'}")
def test_chain(decoded: Decode, syntax: str, depth: tuple[int, bool]) -> None:
    bits, signed = depth
    stored = ramp(bits, signed)
    for m, v, photometric in product(MODALITY, VOI, ("MONOCHROME1", "MONOCHROME2")):
        chain = MODALITY[m] | VOI[v]
        content = dicom_bytes(
            stored, syntax, BitsStored=bits, PhotometricInterpretation=photometric, **attributes_of(chain)
        )
        (image,) = decoded(content)
        wanted = expected_chain(bits, signed, m, v, photometric)
        np.testing.assert_array_equal(image.pixels, wanted, err_msg=f"{m} {v} {photometric}")
