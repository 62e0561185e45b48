"""One frame's samples → 8-bit grey: reads the parameters of each step from the header and runs `chain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from cxrzero.errors import ImageError
from cxrzero.images import chain
from cxrzero.images.chain import Lut, Values, Window
from cxrzero.images.codecs import DECODED_TO_RGB
from cxrzero.images.dicom_file import DicomFile, binary, items, numbers, text
from cxrzero.images.dicom_frames import PixelLayout
from cxrzero.images.radiograph import DecodeOptions, GreyImage, Step


@dataclass(frozen=True, slots=True)
class Grey:
    """A frame in 8 bits, (H, W) uint8, and the steps that made it."""

    pixels: GreyImage
    steps: tuple[Step, ...]


class _Trail:
    """The steps so far, each with the range of the values after it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, name: str, parameters: dict[str, Any], values: Values) -> Values:
        self.steps.append(Step(name, parameters, float(values.min()), float(values.max())))
        return values


def monochrome_to_grey(
    dicom: DicomFile, layout: PixelLayout, samples: Values, decoder: str, options: DecodeOptions
) -> Grey:
    """MONOCHROME1 and MONOCHROME2: modality LUT, VOI, inversion (PS3.4, N.2); padding is black in the end.

    Every step maps a value by itself, so each value that occurs goes through the chain once, not each pixel.

    Raises:
        ImageError: "unsupported_photometric_interpretation", "bad_lut", "bad_window", "bad_rescale".
    """
    if layout.samples != 1 or layout.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError("unsupported_photometric_interpretation", "grey pixels are not one sample of MONOCHROME1 or 2")
    header, trail = dicom.header, _Trail()
    levels = chain.GreyLevels.of(samples)
    values = stored_values(layout, levels.raw, decoder)
    trail.add("stored_bits", {"bits_stored": layout.bits_stored, "signed": layout.signed}, values)
    padding = padding_mask(header, layout, values)
    values, first_is_signed = modality(dicom, layout, values, trail)
    y = voi(dicom, values, padding, first_is_signed, trail)
    if options.invert == "yes" or (options.invert == "auto" and layout.photometric == "MONOCHROME1"):
        y = trail.add("invert", {"photometric_interpretation": layout.photometric, "invert": options.invert}, 1.0 - y)
    grey = chain.to_grey(y)
    if padding is not None:
        grey[padding] = 0
        trail.add("padding", {"pixels": int(levels.counts[padding].sum())}, grey)
    return Grey(levels.picture(grey), tuple(trail.steps))


def stored_values(layout: PixelLayout, samples: Values, decoder: str) -> Values:
    """The stored bits of each sample. Decoders of image formats return them right-aligned; RLE and raw data do not."""
    as_allocated = decoder in ("numpy", "cxrzero/rle")
    return chain.unpack_stored(samples, layout.bits_stored, layout.shift if as_allocated else 0, layout.signed)


def padding_mask(header: Dataset, layout: PixelLayout, values: Values) -> npt.NDArray[np.bool_] | None:
    """True where a value is padding: the value, or the range between it and the limit (PS3.3, C.7.5.1.1.2).

    A value of the wrong sign is read modulo 2^16, as the US and SS encodings of the same two bytes.
    """
    ends = [
        _as_represented(int(found[0]), layout)
        for found in (numbers(header, "PixelPaddingValue"), numbers(header, "PixelPaddingRangeLimit"))
        if found and np.isfinite(found[0])
    ]
    if not numbers(header, "PixelPaddingValue"):
        return None
    mask = (values >= min(ends)) & (values <= max(ends))
    return mask if mask.any() else None


def _as_represented(value: int, layout: PixelLayout) -> int:
    if layout.signed:
        return value - 65536 if value > 32767 and layout.bits_stored <= 16 else value
    return value % 65536 if value < 0 else value


def modality(dicom: DicomFile, layout: PixelLayout, values: Values, trail: _Trail) -> tuple[Values, bool]:
    """Modality LUT, else rescale (PS3.3, C.11.1). Returns the values and whether they may be negative."""
    tables = items(dicom.header, "ModalityLUTSequence")
    if tables:
        lut = read_lut(tables[0], layout.signed, dicom.transfer_syntax == ExplicitVRBigEndian)
        return trail.add("modality_lut", _described(lut), chain.apply_lut(values, lut)), False
    slope, intercept = numbers(dicom.header, "RescaleSlope"), numbers(dicom.header, "RescaleIntercept")
    if not slope and not intercept:
        return values, layout.signed
    m, b = (slope or [1.0])[0], (intercept or [0.0])[0]
    if not np.isfinite([m, b]).all() or m == 0.0 or abs(m) > 1e9 or abs(b) > 1e15:
        raise ImageError("bad_rescale", "the rescale slope or intercept is impossible")
    if (m, b) == (1.0, 0.0):
        return values, layout.signed
    rescaled = values.astype(np.float64) * m + b
    return trail.add("rescale", {"slope": m, "intercept": b}, rescaled), layout.signed or bool(rescaled.min() < 0)


def voi(
    dicom: DicomFile, values: Values, padding: npt.NDArray[np.bool_] | None, signed: bool, trail: _Trail
) -> npt.NDArray[np.float64]:
    """VOI LUT, else the first window, else the range of the pixels that are not padding; in [0, 1]."""
    tables = items(dicom.header, "VOILUTSequence")
    if tables:
        lut = read_lut(tables[0], signed, dicom.transfer_syntax == ExplicitVRBigEndian)
        y = chain.apply_lut(values, lut).astype(np.float64) / (2**lut.bits - 1)
        return trail.add("voi_lut", _described(lut), y)
    window = read_window(dicom.header)
    if window is not None:
        parameters = {"center": window.center, "width": window.width, "function": window.function}
        return trail.add("window", parameters, chain.apply_window(values, window))
    valid = values if padding is None else values[~padding]
    low, high = (float(valid.min()), float(valid.max())) if valid.size else (0.0, 0.0)
    return trail.add("range", {"low": low, "high": high}, chain.apply_range(values, low, high))


def read_window(header: Dataset) -> Window | None:
    """The first of the windows (PS3.3, C.11.2.1.2), or None where centre or width is not stated.

    Raises:
        ImageError: "bad_window" when the function is not one of the three of C.11.2.1.3.
    """
    centers, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if not centers or not widths:
        return None
    function = text(header, "VOILUTFunction").upper() or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError("bad_window", "the VOI LUT function is none of LINEAR, LINEAR_EXACT and SIGMOID")
    return Window(centers[0], widths[0], cast(Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"], function))


def read_lut(item: Dataset, signed: bool, big_endian: bool = False) -> Lut:
    """A lookup table: LUT Descriptor and LUT Data (PS3.3, C.11.1.1.1 and C.11.2.1.1).

    Args:
        item: of the Modality or VOI LUT Sequence.
        signed: the values that it maps may be negative, and so may be the first that it maps.
        big_endian: byte order of LUT Data where it is stored as OW.

    Raises:
        ImageError: "bad_lut" when the descriptor and the data contradict each other.
    """
    descriptor = binary(item, "LUTDescriptor") or b""
    data = binary(item, "LUTData")
    if len(descriptor) != 6 or not data:
        raise ImageError("bad_lut", "a lookup table has no data or no descriptor of three numbers")
    entries, first, bits = (int(v) for v in np.frombuffer(descriptor, "<u2"))
    entries = entries or 65536  # C.11.1.1.1: 0 means 2^16
    if signed and first > 32767:
        first -= 65536
    if not 8 <= bits <= 16:
        raise ImageError("bad_lut", "a lookup table has entries of fewer than 8 or more than 16 bits")
    words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian and _is_ow(item) else "<u2").astype("<u2")
    if len(data) == 2 * entries:
        table = words.astype(np.uint16)
    elif bits == 8 and len(data) == entries + entries % 2:  # two entries to a word
        table = words.view(np.uint8)[:entries].astype(np.uint16)
    else:
        raise ImageError("bad_lut", "a lookup table has more or fewer entries than its descriptor says")
    if int(table.max()) >= 2**bits:
        raise ImageError("bad_lut", "a lookup table has entries of more bits than its descriptor says")
    return Lut(first, bits, table)


def _is_ow(item: Dataset) -> bool:
    return str(item["LUTData"].VR) in ("OW", "US or OW", "UN")


def _described(lut: Lut) -> dict[str, Any]:
    return {"entries": len(lut.data), "first_mapped": lut.first, "bits": lut.bits}


_YBR = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})
_RGB = frozenset({"RGB", "YBR_ICT", "YBR_RCT"})


def colour_to_grey(
    dicom: DicomFile, layout: PixelLayout, samples: Values, decoder: str, options: DecodeOptions
) -> Grey:
    """RGB, YBR and PALETTE COLOR (PS3.3, C.7.6.3.1.2): luma of the colours as they are; colour has no VOI.

    Raises:
        ImageError: "unsupported_photometric_interpretation", "bad_lut".
    """
    trail = _Trail()
    stored = chain.unpack_stored(samples, layout.bits_stored, layout.shift if decoder == "numpy" else 0, False)
    bits, name = layout.bits_stored, layout.photometric
    if name == "PALETTE COLOR" and layout.samples == 1:
        rgb, bits = palette_to_rgb(dicom.header, stored)
    elif name in _YBR and layout.samples == 3:
        is_rgb = dicom.transfer_syntax in DECODED_TO_RGB
        rgb = stored if is_rgb else chain.ybr_to_rgb(_eight_bits(stored, bits), "PARTIAL" in name)
    elif name in _RGB and layout.samples == 3:
        rgb = stored
    else:
        raise ImageError("unsupported_photometric_interpretation", "the colour space is missing or unknown")
    trail.add("colour", {"photometric_interpretation": name, "bits": bits}, rgb)
    grey = chain.luma(rgb.astype(np.uint8) if bits == 8 else rgb)
    pixels = grey if bits == 8 else chain.to_grey(grey.astype(np.float64) / (2**bits - 1))
    trail.add("luma", {"weights": "ITU-R 601-2"}, pixels)
    if options.invert == "yes":
        pixels = 255 - pixels
        trail.add("invert", {"invert": "yes"}, pixels)
    return Grey(pixels, tuple(trail.steps))


def _eight_bits(stored: Values, bits: int) -> Values:
    if bits != 8:
        raise ImageError("unsupported_photometric_interpretation", "YBR pixels of other than 8 bits")
    return stored.astype(np.uint8)


def palette_to_rgb(header: Dataset, stored: Values) -> tuple[Values, int]:
    """Look up the palette (PS3.3, C.7.9 and C.7.6.3.1.5 to 6); returns RGB and its bits per colour."""
    try:
        rgb = apply_color_lut(stored, header)[..., :3]
    # pydicom's palette code indexes and unpacks what the header states: any of a dozen classes when that is wrong.
    except Exception as error:
        raise ImageError("bad_lut", f"the colour palette cannot be used ({type(error).__name__})") from None
    return rgb, rgb.dtype.itemsize * 8
