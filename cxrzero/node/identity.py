"""What a received file says it is: its UIDs, read from its header; its pixels are not looked at."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

from cxrzero.errors import ImageError
from cxrzero.images.dicom_file import open_dicom, text
from cxrzero.images.sniff import kind_of

# A deflated data set is inflated to find its UIDs, up to 256 MiB of memory: one at a time.
_INFLATING = threading.Lock()
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True, slots=True)
class Identity:
    """All empty for another file than DICOM, and where the header lacks them."""

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax: str = ""


def identity_of_file(path: Path) -> Identity:
    """Read it.

    Raises:
        ImageError: it is DICOM, but its header cannot be read.
    """
    if kind_of(path) != "dicom":
        return Identity()
    with _INFLATING, open_dicom(path) as dicom:
        study, series, instance, sop_class = (_uid(text(dicom.header, keyword)) for keyword in _UIDS)
        return Identity(study, series, instance, sop_class, dicom.transfer_syntax)


def is_uid(text: str) -> bool:
    """Whether it has the form of one (PS3.5, 9.1)."""
    return len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None


def _uid(found: str) -> str:
    """A UID or nothing: names and other texts go no further.

    Raises:
        ImageError: it is neither. The text itself is not quoted.
    """
    if found and not is_uid(found):
        raise ImageError("bad_header", "a UID of the header is none")
    return found
