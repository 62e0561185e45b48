"""What all objects that are made here have in common: whose they are, what made them, their UIDs and dates.

The same films, numbers, models and prompts give the same UIDs; with the same run record, the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pydicom.charset import convert_encodings, default_encoding, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrzero._version import __version__
from cxrzero.dicom_out.source import CHARACTERS, IDENTITY, TIMEZONE, Source
from cxrzero.dicom_out.tree import Code, code_of
from cxrzero.display.plain import PLAIN
from cxrzero.errors import ConfigError
from cxrzero.images.dicom_file import items, text, texts
from cxrzero.tables.record import RunRecord

NAME = "cxrzero"
NOT_A_DEVICE = "Research use only: not a medical device."
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
UTF_8 = "ISO_IR 192"
# What an object must have, empty where the source states nothing (type 2).
NEEDED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
          "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
LONGEST = 64  # characters of a long string (LO), PS3.5, 6.2
_TEXTS = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})


@dataclass(frozen=True, slots=True)
class Maker:
    """What made the numbers, and when: by the run's record.

    Attributes:
        models: their names, joined.
        fingerprint: of all of them.
        versions: of the program that scored, and of this one where it is another.
        device: the Device UID.
        time: when the run began.
    """

    models: str
    fingerprint: str
    versions: tuple[str, ...]
    device: str
    time: datetime

    @classmethod
    def of(cls, record: RunRecord) -> Maker:
        """Take it from a record.

        Raises:
            ConfigError: it does not say which model, or when.
        """
        if not record.models:
            raise ConfigError("the run's record names no model; a DICOM object must say what made it")
        try:
            time = datetime.fromisoformat(record.started)
        except ValueError:
            raise ConfigError(
                "the run's record does not say when it started; the objects' dates come from there"
            ) from None
        marks = [fingerprint for _, fingerprint in record.models]
        return cls(
            models=" + ".join(name for name, _ in record.models),
            fingerprint=marks[0] if len(marks) == 1 else hashlib.sha256("+".join(marks).encode()).hexdigest(),
            versions=tuple(dict.fromkeys((record.version, __version__))),
            device=derived_uid("device", marks, record.version),
            time=time if time.tzinfo else time.replace(tzinfo=UTC),
        )


def derived_uid(kind: str, *facts: Any) -> str:
    """A UID under 2.25 (PS3.5, B.2) that follows from facts, which JSON can state."""
    digest = hashlib.sha256(json.dumps([kind, *facts], sort_keys=True).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def new_object(sop_class: str, sop_instance: str) -> Dataset:
    """An empty object with the meta information of its file."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID(sop_class)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(sop_instance)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(derived_uid("implementation"))
    made.file_meta.ImplementationVersionName = f"CXRZERO_{__version__}"[:16]
    return made


def add_series(made: Dataset, modality: str, series: str, series_number: int, number: int, description: str) -> None:
    """Which series it belongs to, and its number there."""
    made.Modality = modality
    made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = series, series_number, number
    made.SeriesDescription = long_string(description)


def add_equipment(made: Dataset, maker: Maker) -> None:
    """The program and its model, as the equipment of the object and as what contributed to it.

    IHE AI Results, Rev. 1.3, 6.5.3.1, asks for the second, with the Device UID.
    """
    contributed = Dataset()
    contributed.PurposeOfReferenceCodeSequence = [code_of(PROCESSING_EQUIPMENT)]
    contributed.ContributionDateTime = maker.time.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
    contributed.ContributionDescription = f"Probabilities of findings, by a model. {NOT_A_DEVICE}"
    contributed.DeviceUID = maker.device
    for each in (made, contributed):
        each.Manufacturer = NAME
        each.ManufacturerModelName = long_string(maker.models)
        each.SoftwareVersions = [long_string(f"{NAME} {version}") for version in maker.versions]
        each.DeviceSerialNumber = long_string(maker.fingerprint)
    made.ContributingEquipmentSequence = [contributed]


def add_dates(made: Dataset, source: Source, maker: Maker) -> None:
    """When it was made: the run's time, in the time zone that the source states for all its times, else UTC."""
    stated = text(source.header, TIMEZONE)
    zone = _zone(stated)
    if zone is not None:
        made.TimezoneOffsetFromUTC = stated
    time = maker.time.astimezone(zone or UTC)
    made.InstanceCreationDate = made.ContentDate = time.strftime("%Y%m%d")
    made.InstanceCreationTime = made.ContentTime = time.strftime("%H%M%S.%f")


def _zone(stated: str) -> timezone | None:
    sign, digits = stated[:1], stated[1:]
    if sign not in ("+", "-") or len(digits) != 4 or not digits.isdecimal():
        return None
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(offset if sign == "+" else -offset) if offset < timedelta(hours=24) else None


def add_identity(made: Dataset, source: Source, *, is_ascii: bool) -> bool:
    """Patient and study as the source has them, byte for byte and in its character set.

    Where the object's own text has letters that this character set may lack, all of it is written in UTF-8. Where the
    source's text does not fit the character set that it states, so that nobody can say what it means in UTF-8, its
    bytes stay all the same, and the object's own text is put into ASCII.

    Args:
        is_ascii: whether the object's own text is, what is still to come included.

    Returns:
        Whether what is still to come must be put into ASCII; what is there already is.
    """
    fits = is_ascii or text(source.header, CHARACTERS) == UTF_8
    must_be_ascii = not fits and not _is_legible(source)
    keeps_bytes = fits or must_be_ascii
    if must_be_ascii:
        _put_into_ascii(made)
    if not keeps_bytes:
        made.SpecificCharacterSet = UTF_8
    for keyword in (CHARACTERS, *IDENTITY) if keeps_bytes else IDENTITY:
        if dictionary_VR(keyword) == "SQ":
            _take_items(made, source, keyword)
        elif keeps_bytes and keyword in source.stored:
            _take_bytes(made, source.stored[keyword])
        elif keyword in source.header:
            made[keyword] = source.header[keyword]
    for keyword in NEEDED:
        if keyword not in made:
            setattr(made, keyword, None)
    # The bytes are in this encoding already, so that pydicom writes them as they are.
    characters = made.get(CHARACTERS)
    made.set_original_encoding(False, True, convert_encodings(characters) if characters else default_encoding)
    return must_be_ascii


def _take_bytes(made: Dataset, stored: RawDataElement) -> None:
    vr, value = dictionary_VR(stored.tag), stored.value or b""
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    made[stored.tag] = RawDataElement(stored.tag, vr, len(value), value, 0, False, True)


def _take_items(made: Dataset, source: Source, keyword: str) -> None:
    if found := items(source.header, keyword):
        setattr(made, keyword, found)


def _is_legible(source: Source) -> bool:
    """Whether the source states a character set that gives letters for all of its bytes."""
    stated = texts(source.header, CHARACTERS)
    if not any(stated) or not set(stated) <= python_encoding.keys():
        return all((each.value or b"").isascii() for each in source.stored.values())
    found = (source.header.get(keyword) for keyword in IDENTITY if dictionary_VR(keyword) != "SQ")
    return not any("\ufffd" in str(value) for value in found)


def _put_into_ascii(made: Dataset) -> None:
    for element in made.iterall():
        if element.VR in _TEXTS and isinstance(element.value, str):
            element.value = element.value.encode("ascii", PLAIN).decode("ascii")


def long_string(words: str) -> str:
    r"""Words as a long string: no backslash, which would part two values, and no more than LONGEST bytes of UTF-8: some
    who read it count bytes for characters."""
    plain = words.replace("\\", "/").encode()
    return (plain if len(plain) <= LONGEST else plain[: LONGEST - 3] + b"...").decode(errors="ignore")


def evidence_of(sources: Sequence[Source]) -> list[Dataset]:
    """The films by study and series, each once (PS3.3, C.17.2.1: Hierarchical SOP Instance Reference)."""
    studies: dict[str, dict[str, dict[str, str]]] = {}
    for each in sources:
        studies.setdefault(each.study, {}).setdefault(each.series, {})[each.sop_instance] = each.sop_class
    found = []
    for study, by_series in studies.items():
        of_study = Dataset()
        of_study.ReferencedSeriesSequence = []
        for series, instances in by_series.items():
            of_series = Dataset()
            of_series.ReferencedSOPSequence = [referenced(sop_class, uid) for uid, sop_class in instances.items()]
            of_series.SeriesInstanceUID = series
            of_study.ReferencedSeriesSequence.append(of_series)
        of_study.StudyInstanceUID = study
        found.append(of_study)
    return found


def referenced(sop_class: str, sop_instance: str, frame: int | None = None) -> Dataset:
    """Point to an object, or to one of its frames."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item
