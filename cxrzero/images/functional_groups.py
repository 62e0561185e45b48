"""Multi-frame functional groups (PS3.3, C.7.6.16): what a frame's header says in sequences of its own, made plain.

A frame's own group goes before the group that all frames share, and both before the header's top.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from cxrzero.images.dicom_file import required_items

# The macros that decide pixels: C.7.6.16.2.10 (window and VOI LUT), .9 (rescale), .1 and C.8.19.6.4 (spacing),
# C.8.19.6.14 (shutter).
MACROS = (
    "FrameVOILUTSequence",
    "PixelValueTransformationSequence",
    "PixelMeasuresSequence",
    "FramePixelDataPropertiesSequence",
    "FrameDisplayShutterSequence",
)


def frame_header(header: Dataset, number: int) -> Dataset:
    """The header of a frame, counted from 1; the file's own where it has no functional groups.

    Raises:
        ImageError: "bad_header" when a functional group is not a sequence.
    """
    shared = required_items(header, "SharedFunctionalGroupsSequence")[:1]
    frames = required_items(header, "PerFrameFunctionalGroupsSequence")[number - 1 : number]
    stated = [item for group in (*shared, *frames) for macro in MACROS for item in required_items(group, macro)[:1]]
    if not stated:
        return header
    frame = Dataset()
    for source in (header, *stated):
        frame.update(dict(source.items()))  # as they stand in the file, read when they are asked for
    return frame
