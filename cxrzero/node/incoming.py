"""A C-STORE request's data set, written to its file while it arrives: memory holds no more than a fragment of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from cxrzero._version import __version__
from cxrzero.node.identity import is_uid
from cxrzero.node.intake import MIB, Intake
from cxrzero.node.objects import NewObject

# PS3.7, 9.3.1.1: Command Field of a C-STORE-RQ.
C_STORE_RQ = 0x0001
# PS3.4, B.2.3; what is beyond the first digits is ours (docs/conformance.md).
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
OTHER_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
OTHER_CONTENT = 0xC001

# PS3.7, annex D.3.3.2: who wrote a file's meta information.
IMPLEMENTATION_CLASS = UID(f"2.25.{int.from_bytes(hashlib.sha256(b'cxrzero node').digest()[:16])}")
IMPLEMENTATION_VERSION = f"CXRZERO_{__version__}"[:16]
# The disk is looked at again after so much.
BYTES_BETWEEN_CHECKS = 16 * MIB


class Answer(NamedTuple):
    """What a C-STORE request is answered with: a status, and why, for the sender's log (LO: 64 characters)."""

    status: int
    comment: str = ""


class Incoming(BytesIO):
    """What pynetdicom takes for the data set in memory; it goes to a file.

    Args:
        command: gives the command set, which is complete when the first fragment of the data set comes.
        syntax: gives the transfer syntax, "" where the presentation context was not accepted.
        intake: where it goes.
        seconds: it may take to arrive.

    Attributes:
        answer: why it is not taken, as soon as that is known: the rest of it is read and dropped.
        new: its file, once it has begun.
    """

    def __init__(self, command: Callable[[], Any], syntax: Callable[[], str], intake: Intake, seconds: float) -> None:
        super().__init__()
        self.answer: Answer | None = None
        self.new: NewObject | None = None
        self._command, self._syntax, self._intake = command, syntax, intake
        self._due = time.monotonic() + seconds
        self._checked_at = 0

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() > self._due

    def write(self, data: Any, /) -> int:
        """Take a fragment."""
        if self.answer is None:
            try:
                if self.new is None:
                    self._begin()
                if self.new is not None:
                    self._append(self.new, data)
            except OSError:
                self.answer = Answer(OUT_OF_RESOURCES, "the object cannot be written")
            if self.answer is not None:
                self.discard()
        return len(data)

    def discard(self) -> None:
        """Leave no file behind, unless it has its name already."""
        if self.new is not None:
            self.new.discard()

    def _begin(self) -> None:
        """Open the file and write what stands before the data set (PS3.10, 7.1)."""
        command, syntax = self._command(), self._syntax()
        if command.get("CommandField") != C_STORE_RQ or not syntax:
            self.answer = Answer(CANNOT_UNDERSTAND, "not a C-STORE request of an accepted context")
            return
        sop_class, instance = (str(command.get(f"AffectedSOP{what}UID", "") or "") for what in ("Class", "Instance"))
        if (
            not (is_uid(sop_class) and is_uid(instance))
            or command.get("MessageID") is None
            or command.get("Priority") is None
        ):
            self.answer = Answer(CANNOT_UNDERSTAND, "the request is not complete, or its UIDs are none")
            return
        if lack := self._intake.lack():
            self.answer = Answer(OUT_OF_RESOURCES, lack)
            return
        self.new = self._intake.begin()
        self.new.write(file_head(sop_class, instance, syntax))

    def _append(self, new: NewObject, data: bytes) -> None:
        if new.size + len(data) > self._intake.max_bytes:
            self.answer = Answer(OUT_OF_RESOURCES, "the object is larger than is allowed here")
            return
        if new.size - self._checked_at >= BYTES_BETWEEN_CHECKS:
            self._checked_at = new.size
            if lack := self._intake.lack():
                self.answer = Answer(OUT_OF_RESOURCES, lack)
                return
        new.write(data)


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and meta information of a file (PS3.10, 7.1); the same for the same object, whoever sends it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + head.getvalue()
