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
from cxrzero.images.codecs import DECODED_TO_RGB, Frame
from cxrzero.images.dicom_file import DicomFile, binary, items, numbers, text
from cxrzero.images.dicom_frames import PixelLayout
from cxrzero.images.luts import read_lut
from cxrzero.images.radiograph import DecodeOptions, GreyImage, Step
from cxrzero.images.shutter import Shutter
from cxrzero.images.stored import StoredBits, stored_values

Levels = npt.NDArray[np.bool_]


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
    dicom: DicomFile, layout: PixelLayout, frame: Frame, shutter: Shutter, options: DecodeOptions
) -> Grey:
    """MONOCHROME1 and MONOCHROME2: modality LUT, VOI, inversion (PS3.4, N.2); padding and what a shutter covers are
    black in the end.

    Every step maps a value by itself, so each value that occurs goes through the chain once, not each pixel.

    Raises:
        ImageError: "unsupported_photometric_interpretation", "bad_lut", "bad_window", "bad_rescale".
    """
    if layout.samples != 1 or layout.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError("unsupported_photometric_interpretation", "grey pixels are not one sample of MONOCHROME1 or 2")
    header, trail = dicom.header, _Trail()
    levels = chain.GreyLevels.of(frame.samples)
    values, stored = stored_values(levels.raw, frame.claim, layout.stored)
    trail.add("stored_bits", {"bits_stored": stored.bits, "signed": stored.signed}, values)
    padding = padding_mask(header, stored, values)
    ignored = _ignored(padding, levels, frame.samples, shutter)
    values, may_be_negative = modality(dicom, values, stored.signed, trail)
    y = voi(dicom, values, ignored, may_be_negative, trail)
    if options.invert == "yes" or (options.invert == "auto" and layout.photometric == "MONOCHROME1"):
        y = trail.add("invert", {"photometric_interpretation": layout.photometric, "invert": options.invert}, 1.0 - y)
    grey = chain.to_grey(y)
    if padding is not None:
        grey[padding] = 0
        trail.add("padding", {"pixels": int(levels.counts[padding].sum())}, grey)
    return Grey(_covered(levels.picture(grey), shutter, trail), tuple(trail.steps))


def _ignored(padding: Levels | None, levels: chain.GreyLevels, samples: Values, shutter: Shutter) -> Levels | None:
    """Levels that no range may count: padding, and those that occur behind the shutter only."""
    if shutter.visible is None:
        return padding
    seen = chain.GreyLevels.of(samples[shutter.visible]).raw
    behind = np.isin(levels.raw, seen, invert=True)
    return behind if padding is None else behind | padding


def _covered(pixels: GreyImage, shutter: Shutter, trail: _Trail) -> GreyImage:
    """What the shutter covers, black; a shutter that cannot be applied is told in the step."""
    if shutter.visible is not None:
        pixels = np.where(shutter.visible, pixels, np.uint8(0))
    if shutter.visible is not None or shutter.unusable:
        parameters = {"shapes": list(shutter.shapes), "unusable": list(shutter.unusable)}
        trail.add("shutter", {name: value for name, value in parameters.items() if value}, pixels)
    return pixels


def padding_mask(header: Dataset, stored: StoredBits, values: Values) -> Levels | None:
    """True where a value is padding: the value, or the range between it and the limit (PS3.3, C.7.5.1.1.2).

    A value of the wrong sign is read modulo 2^16, as the US and SS encodings of the same two bytes.
    """
    found = [_first_number(header, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if found[0] is None:
        return None
    ends = [_as_represented(int(end), stored) for end in found if end is not None]
    mask = (values >= min(ends)) & (values <= max(ends))
    return mask if mask.any() else None


def states_padding(header: Dataset) -> bool:
    """Whether some value may be padding."""
    return _first_number(header, "PixelPaddingValue") is not None


def _first_number(header: Dataset, keyword: str) -> float | None:
    """The first value where it is a number; padding that cannot be read is none, the pixels are there without it."""
    try:
        found = numbers(header, keyword)
    except ImageError:
        return None
    return found[0] if found and np.isfinite(found[0]) else None


def _as_represented(value: int, stored: StoredBits) -> int:
    if stored.signed:
        return value - 65536 if value > 32767 and stored.bits <= 16 else value
    return value % 65536 if value < 0 else value


def modality(dicom: DicomFile, values: Values, signed: bool, trail: _Trail) -> tuple[Values, bool]:
    """Modality LUT, else rescale (PS3.3, C.11.1). Returns the values and whether they may be negative."""
    lut = _read_lut(dicom, "ModalityLUTSequence", values, signed, instead=("RescaleSlope", "RescaleIntercept"))
    if lut is not None:
        return trail.add("modality_lut", _described(lut), chain.apply_lut(values, lut)), False
    slope, intercept = numbers(dicom.header, "RescaleSlope"), numbers(dicom.header, "RescaleIntercept")
    if not slope and not intercept:
        return values, signed
    m, b = (slope or [1.0])[0], (intercept or [0.0])[0]
    if not np.isfinite([m, b]).all() or m == 0.0 or abs(m) > 1e9 or abs(b) > 1e15:
        raise ImageError("bad_rescale", "the rescale slope or intercept is impossible")
    if (m, b) == (1.0, 0.0):
        return values, signed
    rescaled = values.astype(np.float64) * m + b
    return trail.add("rescale", {"slope": m, "intercept": b}, rescaled), signed or bool(rescaled.min() < 0)


def _read_lut(dicom: DicomFile, keyword: str, values: Values, signed: bool, *, instead: tuple[str, str]) -> Lut | None:
    """The table; None where there is none, or none that is whole and the header states the numbers `instead`."""
    try:
        return read_lut(dicom.header, keyword, values, signed, dicom.transfer_syntax == ExplicitVRBigEndian)
    except ImageError as error:
        if error.code != "bad_lut" or any(_first_number(dicom.header, number) is None for number in instead):
            raise
        return None


def voi(
    dicom: DicomFile, values: Values, ignored: Levels | None, signed: bool, trail: _Trail
) -> npt.NDArray[np.float64]:
    """VOI LUT, else the first window, else the range of the pixels that are not to be ignored; in [0, 1]."""
    lut = _read_lut(dicom, "VOILUTSequence", values, signed, instead=("WindowCenter", "WindowWidth"))
    if lut is not None:
        y = chain.apply_lut(values, lut).astype(np.float64) / lut.white
        return trail.add("voi_lut", _described(lut), y)
    window = read_window(dicom.header)
    if window is not None:
        parameters = {"center": window.center, "width": window.width, "function": window.function}
        return trail.add("window", parameters, chain.apply_window(values, window))
    valid = values if ignored is None else values[~ignored]
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


def states_voi(header: Dataset) -> bool:
    """Whether the header says which values are black and white; else their range does, see `voi`."""
    window = all(_first_number(header, keyword) is not None for keyword in ("WindowCenter", "WindowWidth"))
    return window or any(binary(item, "LUTData") for item in items(header, "VOILUTSequence"))


def _described(lut: Lut) -> dict[str, Any]:
    return {"entries": len(lut.data), "first_mapped": lut.first, "white": lut.white}


_YBR = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})
_RGB = frozenset({"RGB", "YBR_ICT", "YBR_RCT"})


def colour_to_grey(
    dicom: DicomFile, layout: PixelLayout, frame: Frame, shutter: Shutter, options: DecodeOptions
) -> Grey:
    """RGB, YBR and PALETTE COLOR (PS3.3, C.7.6.3.1.2): luma of the colours as they are; colour has no VOI.

    Raises:
        ImageError: "unsupported_photometric_interpretation", "bad_lut".
    """
    trail = _Trail()
    stored, found = stored_values(frame.samples, frame.claim, layout.stored._replace(signed=False))
    bits, name = found.bits, layout.photometric
    if name == "PALETTE COLOR" and layout.samples == 1:
        rgb, bits = palette_to_rgb(dicom.header, stored)
    elif name in _YBR and layout.samples == 3:
        is_rgb = dicom.transfer_syntax in DECODED_TO_RGB or (frame.claim is not None and frame.claim.was_rgb)
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
    return Grey(_covered(pixels, shutter, trail), tuple(trail.steps))


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
