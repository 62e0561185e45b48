"""A film's DICOM file → what its results take over: who and which study, as the file's own bytes have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import VR

from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import integer, open_dicom, required_items, text, texts
from cxrzero.prediction import Prediction

# Patient and study (PS3.3, C.7.1.1, C.7.2.1), and what marks them as those of a trial or as de-identified.
IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate", "PatientSex", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "StudyDescription",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip
# What says how the above is read.
CHARACTERS, TIMEZONE = "SpecificCharacterSet", "TimezoneOffsetFromUTC"
REFERENCES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
# Of the picture, for what is derived from it.
PICTURE = ("NumberOfFrames", "Rows", "Columns", "PixelSpacing", "ImagerPixelSpacing", "BurnedInAnnotation",
           "PatientOrientation", "Laterality", "ImageLaterality", "BodyPartExamined")  # fmt: skip
LONGEST_VALUE = 0xFFFE  # bytes, in explicit VR (PS3.5, 7.1.2)
_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5, 9.1


@dataclass(frozen=True, slots=True)
class Source:
    """One file.

    Attributes:
        header: what of the attributes named above the file has.
        stored: keyword → element with its value as the file's bytes, of those that no parser had to look into.
        sop_class, sop_instance, series, study: UIDs.
        n_frames: in the file.
    """

    header: Dataset
    stored: Mapping[str, RawDataElement]
    sop_class: str
    sop_instance: str
    series: str
    study: str
    n_frames: int = 1

    @property
    def patient(self) -> tuple[list[str], list[str]]:
        """Tells patients apart where an archive has mixed them in one study."""
        return texts(self.header, "PatientID"), texts(self.header, "IssuerOfPatientID")


@dataclass(frozen=True, slots=True)
class SourceFilm:
    """A scored row, and the header of its film."""

    row: Prediction
    source: Source

    @property
    def frame(self) -> int | None:
        """The frame's number, where the file has several."""
        return (self.row.frame or 1) if self.source.n_frames > 1 else None


def read_source(file: Path | BinaryIO) -> Source:
    """Read the header of a file, or of one that is open; pixels are not looked at.

    Raises:
        ImageError: as `open_dicom`; "no_uids": nothing can refer to the file, for it lacks a UID; "bad_header": what
            says whose it is cannot be taken over.
    """
    with open_dicom(file, (CHARACTERS, TIMEZONE, *REFERENCES, *IDENTITY, *PICTURE)) as dicom:
        header = dicom.header
    # Before anything is read: pydicom converts what is looked at, and forgets its bytes.
    elements: dict[str, Any] = {
        keyword: header.get_item(cast(int, tag_for_keyword(keyword))) for keyword in (CHARACTERS, *IDENTITY)
    }
    stored = {keyword: each for keyword, each in elements.items() if isinstance(each, RawDataElement)}
    _check(header, stored)
    uids = {keyword: text(header, keyword) for keyword in (*REFERENCES, "StudyInstanceUID")}
    wrong = [keyword for keyword, uid in uids.items() if not _UID.fullmatch(uid)]
    if wrong:
        raise ImageError("no_uids", f"nothing can refer to this film: its header has no valid {' and '.join(wrong)}")
    sop_class, sop_instance, series, study = uids.values()
    return Source(header, stored, sop_class, sop_instance, series, study, max(1, integer(header, "NumberOfFrames", 1)))


def _check(header: Dataset, stored: Mapping[str, RawDataElement]) -> None:
    """Find out whether identity can be written again, and convert its sequences, for the source may have another
    encoding."""
    for keyword, each in stored.items():
        if len(each.value or b"") > LONGEST_VALUE:
            raise ImageError("bad_header", f"{keyword} is longer than any such value can be")
        if each.VR is not None and each.VR not in VR.__members__:  # implicit VR states none
            raise ImageError("bad_header", f"{keyword} has a VR that there is not")
    for keyword in IDENTITY:
        if dictionary_VR(keyword) == "SQ":
            try:
                for item in required_items(header, keyword):
                    for _ in item.iterall():
                        pass
            except ImageError:
                raise
            except Exception as error:  # a broken value raises whatever its converter leads to
                raise ImageError("bad_header", f"{keyword} cannot be read ({type(error).__name__})") from None
