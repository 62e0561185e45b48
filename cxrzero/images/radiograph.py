"""What the decoders hand on: upright grey pixels, the facts that the table needs, and what was done to get there."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from cxrzero.choices import Invert
from cxrzero.display.counts import counted
from cxrzero.display.oneline import arguments, line
from cxrzero.errors import ConfigError

GreyImage = npt.NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How images are decoded; part of every cache key.

        >>> Screener(decode_options=DecodeOptions(invert="yes")).decode_options
        DecodeOptions(invert='yes')

    Attributes:
        invert: "auto" trusts PhotometricInterpretation; "yes" and "no" override it.
        max_pixels: rows × columns × frames above which an image is refused before any allocation.
        fast_side: JPEG and JPEG 2000 films may be decoded at a half, a quarter or an eighth of their size while both
            sides keep at least so many pixels (docs/images.md says which); None decodes all in full.

    Raises:
        ConfigError: another word for `invert`, or a number below 1.
    """

    invert: Invert = "auto"
    max_pixels: int = 200_000_000
    fast_side: int | None = None

    def __post_init__(self) -> None:
        if self.invert not in get_args(Invert):
            raise ConfigError(f"invert {self.invert!r} is unknown; choose one of {', '.join(get_args(Invert))}")
        if self.max_pixels < 1 or (self.fast_side is not None and self.fast_side < 1):
            raise ConfigError("max_pixels and fast_side must be at least 1")

    def __repr__(self) -> str:
        return arguments(type(self), ((each.name, getattr(self, each.name), each.default) for each in fields(self)))


class Facts(NamedTuple):
    """Attributes of a DICOM header, empty where it states none. Names, dates and patients' numbers never appear.

        >>> [row] = screener.predict("films/effusion_right_monochrome1.dcm", ["edema"])
        >>> row.facts.modality, row.facts.photometric_interpretation
        ('CR', 'MONOCHROME1')

    Attributes:
        modality: e.g. "CR", "DX".
        view_position: e.g. "PA", "AP", "LL".
        photometric_interpretation: e.g. "MONOCHROME1", of which black is bright.
        study_instance_uid: of the study that the image belongs to.
        series_instance_uid: of its series.
        sop_instance_uid: its own.
    """

    modality: str = ""
    view_position: str = ""
    photometric_interpretation: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""

    def as_dict(self) -> dict[str, str]:
        """Column name → value, in the order of the prediction table."""
        return self._asdict()

    def __repr__(self) -> str:
        names = {name: value for name, value in self._asdict().items() if value}
        stated = [f"{name}={value!r}" for name, value in names.items() if not name.endswith("_uid")]
        uids = len(names) - len(stated)
        shown = ", ".join([*stated, counted(uids, "UID")] if uids else stated) or "nothing is stated"
        return f"{line(f'<Facts: {shown}')}>"


class StoredFrame(NamedTuple):
    """A frame as its file stores it, before any turning or squeezing.

    Attributes:
        rows, columns: its pixels.
        orientation: what must be done to see it upright, as EXIF numbers it (tag 274); 1 is nothing. What is then left
            to the upright picture is that pixels become square, and with `fast_side` fewer.
    """

    rows: int
    columns: int
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain from stored values to grey, for `cxrzero inspect`.

    Attributes:
        name: e.g. "modality_lut", "window".
        parameters: what it was given, JSON-serialisable.
        low, high: range of the values after the step.
    """

    name: str
    parameters: dict[str, Any]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One decoded frame.

    Attributes:
        pixels: (H, W) uint8, 0 = black; bright = dense (bone white, lung dark), square pixels, upright.
        facts: what the header states.
        flags: members of the closed vocabulary in `cxrzero.images.flags`.
        frame: 1-based number of the frame in its file (DICOM PS3.3, Referenced Frame Number).
        n_frames: frames in the file.
        decoder: which plug-in decoded the pixels, e.g. "imagecodecs/jpeg2k", "pillow/PNG".
        steps: what was done, in order.
        stored: the frame before any of it; None where it was no file's.
    """

    pixels: GreyImage
    facts: Facts = field(default_factory=Facts)
    flags: frozenset[str] = frozenset()
    frame: int = 1
    n_frames: int = 1
    decoder: str = ""
    steps: tuple[Step, ...] = ()
    stored: StoredFrame | None = None


def upright(values: npt.NDArray[T], orientation: int) -> npt.NDArray[T]:
    """Turn (…, rows, columns) as stored upright: what EXIF 2.32 says of tag 274."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, -1, -2)
    if orientation in (2, 3, 6, 7):
        values = values[..., ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[..., ::-1, :]
    return values


def as_stored(values: npt.NDArray[T], orientation: int) -> npt.NDArray[T]:
    """Turn (…, H, W) that is upright back, see `upright`."""
    return upright(values, {6: 8, 8: 6}.get(orientation, orientation))
