"""Multi-frame functional groups (PS3.3, C.7.6.16): what a frame's header says in sequences of its own, made plain.

A frame's own group goes before the group that all frames share, and both before the header's top.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from cxrzero.images.dicom_file import required_items

_SHUTTER = (
    "ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter",
)  # fmt: skip
# The macros that decide pixels, and what each decides: C.7.6.16.2.10 (VOI), .9 (modality), .1 and C.8.19.6.4 (spacing),
# C.8.19.6.14 (shutter). One that states any of it states all: a frame with a window has no lookup table of others.
MACROS = {
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "FramePixelDataPropertiesSequence": ("ImagerPixelSpacing",),
    "FrameDisplayShutterSequence": _SHUTTER,
}


def frame_header(header: Dataset, number: int) -> Dataset:
    """The header of a frame, counted from 1; the file's own where it has no functional groups.

    Raises:
        ImageError: "bad_header" when a functional group is not a sequence.
    """
    shared = required_items(header, "SharedFunctionalGroupsSequence")[:1]
    frames = required_items(header, "PerFrameFunctionalGroupsSequence")[number - 1 : number]
    stated = [
        (item, keywords)
        for group in (*shared, *frames)
        for macro, keywords in MACROS.items()
        for item in required_items(group, macro)[:1]
    ]
    if not stated:
        return header
    frame = Dataset()
    frame.update(dict(header.items()))  # as they stand in the file, read when they are asked for
    for item, keywords in stated:
        if any(keyword in item for keyword in keywords):
            for keyword in keywords:
                frame.pop(keyword, None)
        frame.update(dict(item.items()))
    return frame
