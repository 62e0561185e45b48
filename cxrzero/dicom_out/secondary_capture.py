"""The picture of a map over its film → a Secondary Capture, for viewers that show nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from cxrzero.dicom_out.maps import Mapped, add_identity_of, new_map, source_image
from cxrzero.dicom_out.objects import long_string
from cxrzero.display.visible import visible
from cxrzero.images.dicom_file import text
from cxrzero.tables.record import RunRecord

SECONDARY_CAPTURE, SERIES_NUMBER = "1.2.840.10008.5.1.4.1.1.7", 9902


def secondary_capture(mapped: Mapped, picture: npt.NDArray[np.uint8], record: RunRecord) -> Dataset:
    """An overlay as a picture.

    Args:
        picture: (H, W, 3), upright, with its words drawn in.
    """
    made = new_map(SECONDARY_CAPTURE, SERIES_NUMBER, mapped, record, picture.tobytes())
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "WSD"
    # What is drawn in says nothing of a patient; what is burned into the film stays in its picture.
    made.BurnedInAnnotation = "NO" if text(mapped.source.header, "BurnedInAnnotation") == "NO" else "YES"
    made.ImageComments = mapped.words
    made.DerivationDescription = long_string(f"Where a model sees {visible(mapped.label)}, over the film")
    made.SourceImageSequence = [source_image(mapped)]
    made.PatientOrientation = None
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = picture.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.LossyImageCompression = "00"
    content = picture.tobytes()
    made.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    add_identity_of(made, mapped, record)
    return made
