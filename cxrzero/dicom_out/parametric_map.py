"""A map of a film → a Parametric Map: its numbers, on the source's pixels."""

from __future__ import annotations

from pydicom.dataset import Dataset

from cxrzero.dicom_out.codes import MAP_HEIGHT, Codes, own_scheme
from cxrzero.dicom_out.maps import Mapped, add_identity_of, new_map, source_image
from cxrzero.dicom_out.objects import derived_uid, long_string, referenced
from cxrzero.dicom_out.source import Source
from cxrzero.dicom_out.tree import Code, code_of, decimal
from cxrzero.display.visible import visible
from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import numbers, texts
from cxrzero.maths import Float32s
from cxrzero.tables.record import RunRecord

PARAMETRIC_MAP, SERIES_NUMBER = "1.2.840.10008.5.1.4.1.1.30", 9901
KIND = ["DERIVED", "PRIMARY", "OTHER", "QUANTITY"]
QUANTITY, FINDING = Code("246205007", "SCT", "Quantity"), Code("121071", "DCM", "Finding")
NO_UNITS = Code("1", "UCUM", "no units")
NOT_SAID = Code("112187", "DCM", "Unspecified method of calculation")
# Letters of Patient Orientation → directions; x is to the patient's left, y to the back, z to the head.
AXES = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0], "H": [0, 0, 1], "F": [0, 0, -1]}


def parametric_map(
    mapped: Mapped, found: Float32s, rows: int, columns: int, record: RunRecord, codes: Codes
) -> Dataset:
    """A map as an image of numbers.

    Args:
        found: (h, w), on the whole stored frame.
        rows, columns: of the frame.
    """
    code = codes(mapped.label)
    made = new_map(PARAMETRIC_MAP, SERIES_NUMBER, mapped, record, found.tobytes(), list(code))
    height, width = found.shape
    made.ImageType = KIND
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
    made.SharedFunctionalGroupsSequence = [_shared(mapped, found, rows, columns, code)]
    made.PerFrameFunctionalGroupsSequence = [_of_frame()]
    _add_dimension(made)
    made.FloatPixelData = found.astype("<f4").tobytes()
    add_identity_of(made, mapped, record)
    return made


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
    kind.FrameType = KIND
    shared.ParametricMapFrameTypeSequence = [kind]
    shared.RealWorldValueMappingSequence = [_mapping(mapped, found, code)]
    derivation, source = Dataset(), source_image(mapped)
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
