"""A map of a film → a Parametric Map, its numbers on the source's pixels; an overlay → a Secondary Capture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from cxrzero.dicom_out.codes import MAP_HEIGHT, Codes, own_scheme
from cxrzero.dicom_out.objects import (
    NAME,
    NOT_A_DEVICE,
    Maker,
    add_dates,
    add_equipment,
    add_identity,
    add_series,
    derived_uid,
    long_string,
    new_object,
    referenced,
)
from cxrzero.dicom_out.source import Source
from cxrzero.dicom_out.tree import code_of, decimal
from cxrzero.display.visible import visible
from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import numbers, text, texts
from cxrzero.maths import Float32s
from cxrzero.tables.record import RunRecord

PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBERS = {PARAMETRIC_MAP: 9901, SECONDARY_CAPTURE: 9902}

QUANTITY, FINDING = Code("246205007", "SCT", "Quantity"), Code("121071", "DCM", "Finding")
NO_UNITS = Code("1", "UCUM", "no units")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
NOT_SAID = Code("112187", "DCM", "Unspecified method of calculation")
# Letters of Patient Orientation → directions; x is to the patient's left, y to the back, z to the head.
AXES = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0], "H": [0, 0, 1], "F": [0, 0, -1]}
A_MAP = "A map says where the model looked, not what is there."


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a map is of, and what is known of it.

    Attributes:
        frame: 1-based, of the source.
        probability: of the finding.
        location: "validated", "not validated" or "never measured", of maps by this method.
        method: "patch" or "occlusion".
    """

    source: Source
    frame: int
    label: str
    probability: float
    location: str
    method: str

    @property
    def facts(self) -> list[Any]:
        """What tells it from other maps."""
        return [self.source.sop_instance, self.frame, self.label, self.probability, self.location, self.method]

    @property
    def words(self) -> str:
        """What to know before looking at it."""
        validated = "" if self.location == "validated" else f" Location not validated ({self.location})."
        return (
            f"{visible(self.label)}: probability {self.probability:.4f}, by {self.method}.{validated} {A_MAP} "
            f"{NOT_A_DEVICE}"
        )


def parametric_map(
    mapped: Mapped, found: Float32s, rows: int, columns: int, record: RunRecord, codes: Codes
) -> Dataset:
    """A map as an image of numbers.

    Args:
        found: (h, w), on the whole stored frame.
        rows, columns: of the frame.
    """
    made, maker = _derived(PARAMETRIC_MAP, "OT", mapped, record, found.tobytes())
    height, width = found.shape
    made.ImageType = ["DERIVED", "PRIMARY", "OTHER", "QUANTITY"]
    made.ContentQualification = "RESEARCH"
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "HEATMAP", long_string(mapped.words), None
    made.RecognizableVisualFeatures, made.BurnedInAnnotation = "NO", "NO"
    made.LossyImageCompression = "00"
    made.AcquisitionContextSequence = []
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = derived_uid("plane", mapped.source.sop_instance), None
    made.ReferencedSeriesSequence = [_referenced_series(mapped.source)]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns, made.NumberOfFrames = height, width, 1
    made.BitsAllocated = 32
    made.PresentationLUTShape = "IDENTITY"
    made.CodingSchemeIdentificationSequence = [own_scheme()]
    made.SharedFunctionalGroupsSequence = [_shared(mapped, found, rows, columns, codes(mapped.label))]
    made.PerFrameFunctionalGroupsSequence = [_of_frame()]
    _add_dimension(made)
    made.FloatPixelData = found.astype("<f4").tobytes()
    _finish(made, mapped, maker)
    return made


def secondary_capture(mapped: Mapped, picture: npt.NDArray[np.uint8], record: RunRecord) -> Dataset:
    """An overlay as a picture.

    Args:
        picture: (H, W, 3), upright, with its words drawn in.
    """
    made, maker = _derived(SECONDARY_CAPTURE, "OT", mapped, record, picture.tobytes())
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ConversionType = "WSD"
    # What is drawn in says nothing of a patient; what is burned into the film stays in its picture.
    made.BurnedInAnnotation = "NO" if text(mapped.source.header, "BurnedInAnnotation") == "NO" else "YES"
    made.ImageComments = mapped.words
    made.DerivationDescription = long_string(f"Where a model sees {visible(mapped.label)}, over the film")
    made.SourceImageSequence = [_source_image(mapped)]
    made.PatientOrientation = None
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = picture.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.LossyImageCompression = "00"
    content = picture.tobytes()
    made.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    _finish(made, mapped, maker)
    return made


def _derived(sop_class: str, modality: str, mapped: Mapped, record: RunRecord, content: bytes) -> tuple[Dataset, Maker]:
    """What both kinds have in common, as far as it needs no identity."""
    maker = Maker.of(record)
    digest = hashlib.sha256(content).hexdigest()
    made = new_object(sop_class, derived_uid("map", sop_class, maker.device, maker.versions, mapped.facts, digest))
    series = derived_uid("maps", sop_class, mapped.source.study, maker.device, maker.versions)
    add_series(
        made,
        modality,
        series,
        SERIES_NUMBERS[sop_class],
        _number(mapped, record),
        f"{NAME} heatmaps, not a medical device",
    )
    add_equipment(made, maker)
    return made, maker


def _number(mapped: Mapped, record: RunRecord) -> int:
    """Of an object among those of its film: by frame, then by label in the order of the run."""
    labels = [prompt.label for prompt in record.prompts[0]]
    place = labels.index(mapped.label) if mapped.label in labels else len(labels)
    return (mapped.frame - 1) * (len(labels) + 1) + place + 1


def _finish(made: Dataset, mapped: Mapped, maker: Maker) -> None:
    if body_part := text(mapped.source.header, "BodyPartExamined"):
        made.BodyPartExamined = body_part
    else:
        made.Laterality = None
    add_dates(made, mapped.source, maker)
    add_identity(made, mapped.source, is_ascii=mapped.words.isascii())


def _source_image(mapped: Mapped) -> Dataset:
    source = mapped.source
    item = referenced(source.sop_class, source.sop_instance, mapped.frame if source.n_frames > 1 else None)
    item.PurposeOfReferenceCodeSequence = [code_of(SOURCE_IMAGE)]
    return item


def _shared(mapped: Mapped, found: Float32s, rows: int, columns: int, code: Code) -> Dataset:
    """The functional groups of the one frame: what its numbers are, of what they are derived, how large pixels are."""
    shared = Dataset()
    measures = Dataset()
    if spacing := _spacing(mapped.source):
        of_rows, of_columns = spacing[0] * rows / found.shape[0], spacing[1] * columns / found.shape[1]
        measures.PixelSpacing = [decimal(of_rows), decimal(of_columns)]
    shared.PixelMeasuresSequence = [measures]
    position, orientation = Dataset(), Dataset()
    position.ImagePositionPatient, orientation.ImageOrientationPatient = [0, 0, 0], _axes(mapped.source)
    shared.PlanePositionSequence, shared.PlaneOrientationSequence = [position], [orientation]
    kind = Dataset()
    kind.FrameType = ["DERIVED", "PRIMARY", "OTHER", "QUANTITY"]
    shared.ParametricMapFrameTypeSequence = [kind]
    shared.RealWorldValueMappingSequence = [_mapping(mapped, found, code)]
    derivation, source = Dataset(), _source_image(mapped)
    source.SpatialLocationsPreserved = "YES"
    derivation.DerivationDescription = mapped.words
    derivation.DerivationCodeSequence = [code_of(NOT_SAID)]
    derivation.SourceImageSequence = [source]
    shared.DerivationImageSequence = [derivation]
    low, high = float(found.min()), float(found.max())
    window = Dataset()
    window.WindowCenter = decimal((low + high) / 2)
    window.WindowWidth = decimal(max(high - low, 1e-6))
    window.VOILUTFunction = "LINEAR_EXACT"
    shared.FrameVOILUTSequence = [window]
    as_it_is = Dataset()
    as_it_is.RescaleIntercept, as_it_is.RescaleSlope, as_it_is.RescaleType = 0, 1, "US"
    shared.PixelValueTransformationSequence = [as_it_is]
    return shared


def _mapping(mapped: Mapped, found: Float32s, code: Code) -> Dataset:
    """The numbers are what they are, and speak for a finding."""
    item = Dataset()
    item.LUTExplanation = long_string(f"How much a place speaks for {visible(mapped.label)}")
    item.LUTLabel = "HEATMAP"
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, 1.0
    item.DoubleFloatRealWorldValueFirstValueMapped = float(found.min())
    item.DoubleFloatRealWorldValueLastValueMapped = float(found.max())
    item.MeasurementUnitsCodeSequence = [code_of(NO_UNITS)]
    item.QuantityDefinitionSequence = [_coded(QUANTITY, MAP_HEIGHT), _coded(FINDING, code)]
    return item


def _coded(name: Code, value: Code) -> Dataset:
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [code_of(name)], [code_of(value)]
    return item


def _of_frame() -> Dataset:
    content, frame = Dataset(), Dataset()
    content.DimensionIndexValues = [1]
    frame.FrameContentSequence = [content]
    return frame


def _add_dimension(made: Dataset) -> None:
    """One frame, so one dimension of one value."""
    uid = derived_uid("dimension", made.SOPInstanceUID)
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = uid
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00409210, 0x00409096  # LUT Label, in its mapping
    made.DimensionOrganizationSequence, made.DimensionIndexSequence = [organization], [index]


def _referenced_series(source: Source) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = source.series
    item.ReferencedInstanceSequence = [referenced(source.sop_class, source.sop_instance)]
    return item


def _axes(source: Source) -> list[int]:
    """Directions of the source's rows and columns in the patient (PS3.3, C.7.6.2.1.1).

    A radiograph has no place in three dimensions. The map's frame of reference is the film's own plane, from its first
    pixel on; only what Patient Orientation states is known of it, and where that is silent, it is a frontal film's.
    """
    stated = texts(source.header, "PatientOrientation")
    known = [AXES[letters[:1]] for letters in stated if letters[:1] in AXES]
    row, column = (
        known
        if len(known) == 2 and any(known[0][at] and not known[1][at] for at in range(3))
        else (AXES["L"], AXES["F"])
    )
    return [*row, *column]


def _spacing(source: Source) -> list[float]:
    """(rows, columns) in mm between the source's pixels, [] where its header does not say it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            found = numbers(source.header, keyword)
        except ImageError:  # it is no number, so nobody knows it
            continue
        if len(found) == 2 and all(0 < each < 100 for each in found):
            return found
    return []
