"""A DICOM file → upright grey frames: decide from the header, read the frames, run the chain, name what is unusual.

Only the attributes that this needs are parsed, and nothing is read of the pixels before it is clear that they are a
radiograph's. Frames are read one at a time. Names, dates and private attributes are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset

from cxrzero.errors import ImageError, SkippedImage
from cxrzero.images.aspect import Aspect, read_aspect
from cxrzero.images.body_parts import body_part_flags
from cxrzero.images.chain import make_square
from cxrzero.images.codecs import DecodeFrame, Frame, decode_frame
from cxrzero.images.codes import codes, wording
from cxrzero.images.dicom_file import facts_of, integer, open_dicom, text
from cxrzero.images.dicom_frames import PixelLayout, read_frames, read_layout
from cxrzero.images.dicom_grey import Grey, colour_to_grey, monochrome_to_grey, states_padding, states_voi
from cxrzero.images.flags import pixel_flags
from cxrzero.images.functional_groups import frame_header
from cxrzero.images.radiograph import DecodeOptions, Radiograph, Step, StoredFrame
from cxrzero.images.shutter import read_shutter
from cxrzero.images.views import view_flags

# PS3.3, C.7.3.1.1.1: Computed Radiography, Digital Radiography, Radiographic imaging (film/screen). DR is written by
# vendors for DX and never was a defined term.
RADIOGRAPHY = frozenset({"CR", "DX", "DR", "RG"})
# Projection radiography of parts that are never the chest: mammography, panoramic and intra-oral X-ray.
NOT_CHEST = frozenset({"MG", "PX", "IO"})
# Scanned films and screen grabs state these, or nothing.
UNSPECIFIC = frozenset({"", "OT", "SC", "HC", "DF", "DD", "FILM", "XR", "CXR", "XRAY", "X-RAY"})

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
# Secondary Capture and its four multi-frame forms: 1.2.840.10008.5.1.4.1.1.7, …7.1 to …7.4.
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def decode_dicom(
    source: Path | BinaryIO, options: DecodeOptions, decoder: DecodeFrame = decode_frame
) -> Iterator[Radiograph]:
    """Decode every frame of a DICOM file, or of one that is open.

    Yields:
        Radiograph with pixels (H, W) uint8 of square pixels.

    Raises:
        SkippedImage: "no_pixels", "not_projection_radiography" or "not_chest_modality".
        ImageError: see docs/images.md. Both carry `facts`.
    """
    with open_dicom(source) as dicom:
        facts = facts_of(dicom.header)
        try:
            require_radiography(dicom.header, has_pixels=bool(dicom.pixel_tag))
            layout = read_layout(dicom, options.max_pixels)
            to_grey = monochrome_to_grey if layout.photometric.startswith("MONOCHROME") else colour_to_grey
            header_flags = flags_of(dicom.header, layout.frames)
            frames = read_frames(dicom, layout, least_side(dicom.header, layout, options), decoder)
            for number, frame in enumerate(frames, start=1):
                own = replace(dicom, header=frame_header(dicom.header, number))
                aspect = read_aspect(own.header)
                shutter = read_shutter(own.header, layout.rows, layout.columns, aspect.row_over_column)
                shutter = shutter.reduced(frame.factor)
                steps = _as_decoded(frame, layout)
                grey = square(to_grey(own, layout, frame, shutter, options), aspect, options)
                yield Radiograph(
                    pixels=np.ascontiguousarray(grey.pixels),
                    facts=facts,
                    flags=frozenset(header_flags | pixel_flags(grey.pixels)),
                    frame=number,
                    n_frames=layout.frames,
                    decoder=frame.decoder,
                    steps=(*steps, *grey.steps),
                    stored=StoredFrame(layout.rows, layout.columns),
                )
        except ImageError as error:
            error.facts = error.facts or facts
            raise


def least_side(header: Dataset, layout: PixelLayout, options: DecodeOptions) -> int | None:
    """What `options.fast_side` comes to for a file; None where it has to be decoded in full.

    So it is where a pixel of the smaller picture, a mean of many, is not what it stands for: entries of a palette,
    padding beside film, or values whose range decides on the grey because the header states neither window nor VOI LUT.
    """
    first = frame_header(header, 1)
    is_grey = layout.photometric.startswith("MONOCHROME")
    if layout.frames > 1 or not is_grey or states_padding(first) or not states_voi(first):
        return None
    return options.fast_side


def _as_decoded(frame: Frame, layout: PixelLayout) -> list[Step]:
    extent = _extent(frame.samples)
    steps = [Step("stored", {"bits": layout.stored.bits, "signed": layout.stored.signed}, *extent)]
    if frame.factor > 1:
        sides = {"from_width": layout.columns, "to_width": frame.samples.shape[1]}
        steps.append(Step("fast_decode", sides, *extent))
    return steps


def _extent(samples: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> tuple[float, float]:
    return float(samples.min()), float(samples.max())


def require_radiography(header: Dataset, *, has_pixels: bool) -> None:
    """Let through what may be a chest radiograph: by modality, and where that says nothing by SOP class.

    Raises:
        SkippedImage: with the reason.
        ImageError: "no_pixel_data" when an image's header comes without its pixels.
    """
    modality, sop_class = text(header, "Modality").upper(), text(header, "SOPClassUID")
    if not has_pixels:
        if _is_radiograph(sop_class) or (modality in RADIOGRAPHY and integer(header, "Rows", 0) > 0):
            raise ImageError("no_pixel_data", "the header describes an image, the file holds none")
        raise SkippedImage("no_pixels", "the file holds no image (a report, a plan, a waveform or the like)")
    require_modality(modality, sop_class)


def require_modality(modality: str, sop_class: str) -> None:
    """Let through the modalities and SOP classes of chest radiographs.

    Args:
        modality: in capitals.

    Raises:
        SkippedImage: "not_projection_radiography" or "not_chest_modality".
    """
    radiograph_class = _is_radiograph(sop_class)
    if modality in NOT_CHEST:
        raise SkippedImage("not_chest_modality", f"modality {modality} never shows a chest")
    if modality in RADIOGRAPHY:
        return
    if modality in UNSPECIFIC and (radiograph_class or is_secondary_capture(sop_class) or not sop_class):
        return
    stated = f"modality {modality}" if modality.isalnum() and len(modality) <= 16 else "the modality"
    raise SkippedImage("not_projection_radiography", f"{stated} is not projection radiography (CR, DX, DR, RG)")


def _is_radiograph(sop_class: str) -> bool:
    return sop_class.startswith(CR_STORAGE + ".") or sop_class == CR_STORAGE


def is_secondary_capture(sop_class: str) -> bool:
    return sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + ".")


def flags_of(header: Dataset, frames: int) -> set[str]:
    """The flags that follow from the header."""
    views = codes(header, "ViewCodeSequence", modifiers="ViewModifierCodeSequence")
    found = view_flags(wording(header, "ViewPosition"), views)
    found |= body_part_flags(wording(header, "BodyPartExamined"), codes(header, "AnatomicRegionSequence"))
    sop_class = text(header, "SOPClassUID")
    if sop_class == DX_FOR_PROCESSING or text(header, "PresentationIntentType").upper() == "FOR PROCESSING":
        found.add("for_processing")
    if is_secondary_capture(sop_class):
        found.add("secondary_capture")
    if text(header, "BurnedInAnnotation").upper() == "YES":
        found.add("burned_in_annotation")
    if frames > 1:
        found.add("multi_frame")
    return found


def square(grey: Grey, aspect: Aspect, options: DecodeOptions) -> Grey:
    """Correct the aspect of pixels that are not square; a spacing that says nothing is told in the step."""
    if aspect.source:
        pixels = make_square(grey.pixels, aspect.row_over_column, options.max_pixels)
        parameters: dict[str, object] = {"from": aspect.source, "row_over_column": aspect.row_over_column}
    else:
        pixels, parameters = grey.pixels, {"unusable": list(aspect.unusable)}
    if pixels is grey.pixels and not aspect.unusable:
        return grey
    return Grey(pixels, (*grey.steps, Step("square_pixels", parameters, *_extent(pixels))))
