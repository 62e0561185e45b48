"""Films as DICOM files with headers of all kinds, rows that score them, and the record of the run that did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from cxrzero.dicom_out.source import SourceFilm, read_source
from cxrzero.prediction import Prediction
from cxrzero.prompts import LabelPrompts
from cxrzero.tables.record import RunRecord
from tests.support.dicomfile import dicom_bytes

DX = "1.2.840.10008.5.1.4.1.1.1.1"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.2"
SCORES = {"pneumothorax": 0.123456789, "pneumonia": 0.75}
STARTED = "2026-03-04T05:06:07.089+00:00"
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"

# Headers as they come: name → attributes; PS3.5, annexes H, I and J have the first two names.
HEADERS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"PatientName": "Adams^John", "StudyDate": "20260101", "StudyTime": "101500", "AccessionNumber": "A-17"},
    "japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": JAPANESE},
    "korean": {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": KOREAN},
    "half width": {"SpecificCharacterSet": ["ISO_IR 13", "ISO 2022 IR 87"],
                   "PatientName": b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"},
    "latin": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen".encode("latin-1")},
    "cyrillic": {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг".encode("iso8859_5") + b"^A"},
    "greek": {"SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος^A".encode("iso8859_7")},
    "arabic": {"SpecificCharacterSet": "ISO_IR 127", "PatientName": "قباني^لنزار".encode("iso8859_6")},
    "chinese": {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东".encode("gb18030")},
    "gbk": {"SpecificCharacterSet": "GBK", "PatientName": "Wang^XiaoDong=王^小东".encode("gbk")},
    "utf-8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Buc^Jérôme".encode()},
    "no patient id": {"PatientID": None, "PatientName": "Adams^John"},
    "no patient at all": {"PatientID": None, "PatientName": None},
    "empty patient id": {"PatientID": "", "PatientName": ""},
    "no study date": {"StudyDate": None, "StudyTime": None, "PatientName": "Adams^John"},
    "odd length": {"PatientID": "ABC", "PatientName": "Adams^J"},
    "an issuer": {"PatientName": "Adams^John", "IssuerOfPatientID": "HOSPITAL",
                  "IssuerOfAccessionNumberSequence": [{"LocalNamespaceEntityID": "RIS"}]},
    "de-identified": {"PatientName": "A^B", "PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"},
}  # fmt: skip


def write_film(path: Path, syntax: str = "explicit", number: int = 1, frames: int = 1, **attributes: Any) -> Path:
    """A film whose SOP Instance UID ends in `number`, of study 2.25.2."""
    pixels = [np.full((8, 6), (10 * number + frame) % 256, np.uint8) for frame in range(frames)]
    stated = {
        "SOPClassUID": DX if frames == 1 else MULTI_FRAME, "SOPInstanceUID": f"2.25.10{number}", "Modality": "DX",
        "PatientName": "Canary^Cecilia", "PatientID": "MRN-31337", "PatientBirthDate": "19700203", "PatientSex": "F",
        "AccessionNumber": "ACC-4711", "PatientOrientation": ["L", "F"], **attributes,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(pixels, syntax, **stated))
    return path


def scored(path: Path, frame: int = 1, scores: Mapping[str, float] = SCORES, **more: Any) -> SourceFilm:
    """A film as a run has scored it."""
    row = Prediction(str(path), tuple(scores), "ok", frame=frame, scores=dict(scores), **more)
    return SourceFilm(row, read_source(path))


def run_record(**changes: Any) -> RunRecord:
    labels = changes.pop("labels", tuple(SCORES))
    asked = tuple(LabelPrompts(label, (label, f"{label} seen"), (f"no {label}",)) for label in labels)
    stated = {"models": (("tiny", "f" * 64),), "prompts": (asked,), "started": STARTED, "version": "0.1", **changes}
    return RunRecord(**stated)


def items(dataset: Dataset) -> Iterator[Dataset]:
    """All content items of a report, from the root down."""
    yield dataset
    for each in dataset.get("ContentSequence", ()):
        yield from items(each)


def named(dataset: Dataset, meaning: str) -> list[Dataset]:
    """Content items by the meaning of their concept name."""
    return [each for each in items(dataset) if each.ConceptNameCodeSequence[0].CodeMeaning == meaning]
