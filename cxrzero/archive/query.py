"""`--query "ModalitiesInStudy=DX,StudyDate=20260101-20260131"`: which studies of an archive, in the words of DICOM."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cxrzero.errors import ConfigError

ALL = "all"
# Attributes that series and instances are found by (PS3.4, C.6.1.1.4 and C.6.1.1.5); every other is one of studies.
SERIES_LEVEL = frozenset({
    "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "Laterality",
    "PatientPosition", "ProtocolName", "StationName", "Manufacturer", "ManufacturerModelName",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "PerformingPhysicianName",
})  # fmt: skip
INSTANCE_LEVEL = frozenset({"SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ContentDate", "ContentTime"})
# What a run's record repeats; other values may say who somebody is.
SHOWN = frozenset({"ModalitiesInStudy", "Modality", "StudyDate", "BodyPartExamined", "SOPClassUID"})
HIDDEN = "***"

_NEXT = re.compile(r",(?=\s*[A-Za-z0-9]+\s*=)")


@dataclass(frozen=True, slots=True)
class Query:
    """Attributes and the values that they must have; none asks for all.

    Its text is what may be recorded of it, and so is its repr.

    Attributes:
        keys: keyword → value, as DICOM matches it: ranges with "-", wildcards, UIDs separated by commas.
    """

    keys: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def of_studies(self) -> dict[str, str]:
        return {key: value for key, value in self.keys if key not in SERIES_LEVEL | INSTANCE_LEVEL}

    @property
    def of_series(self) -> dict[str, str]:
        return {key: value for key, value in self.keys if key in SERIES_LEVEL}

    @property
    def of_instances(self) -> dict[str, str]:
        return {key: value for key, value in self.keys if key in INSTANCE_LEVEL}

    def __str__(self) -> str:
        return ",".join(f"{key}={value if key in SHOWN else HIDDEN}" for key, value in self.keys) or ALL

    __repr__ = __str__


def parse_query(text: str) -> Query:
    """Read what was typed; a comma begins another key only where "KEYWORD=" follows.

    Raises:
        ConfigError: not of that form, an unknown keyword, or one that is there twice. It quotes no value.
    """
    if text.strip().lower() == ALL:
        return Query()
    keys: dict[str, str] = {}
    for part in _NEXT.split(text):
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not value:
            raise ConfigError('--query: write KEYWORD=VALUE,KEYWORD=VALUE, or "all" for the whole archive')
        if not _is_keyword(key):
            raise ConfigError(f"--query: {key[:40]!r} is no keyword of DICOM, such as ModalitiesInStudy or StudyDate")
        if not value.isprintable():
            raise ConfigError(f"--query: the value of {key} has a character that cannot be shown")
        if key in keys:
            raise ConfigError(f"--query: {key} is there twice")
        keys[key] = value
    return Query(tuple(keys.items()))


def _is_keyword(key: str) -> bool:
    from pydicom.datadict import tag_for_keyword  # imported when there is something to read: --help should come at once

    return tag_for_keyword(key) is not None
