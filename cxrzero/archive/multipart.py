"""The one object in the body of a WADO-RS answer (PS3.18, 8.7.4; RFC 2387)."""

from __future__ import annotations

from email.message import Message

from cxrzero.archive.limits import TransientError
from cxrzero.errors import ImageError


def object_in(body: bytes, content_type: str) -> bytes:
    """The DICOM object: the only part of multipart/related, or the body where a server sends application/dicom.

    Raises:
        ImageError: "truncated" (its end is missing; another try may bring it), "archive_error" (it is something else,
            or more than one part).
    """
    kind, boundary = _kind_and_boundary(content_type)
    if kind == "application/dicom":
        return body
    if kind != "multipart/related" or not boundary:
        raise ImageError("archive_error", "the archive answers with something else than a DICOM object")
    marker = b"--" + boundary.encode("latin-1", "replace")
    delimiter = b"\r\n" + marker
    end = body.rfind(delimiter + b"--")
    if end < 0:
        raise TransientError("truncated", "the archive's answer ends before its last boundary")
    begin = 0 if body.startswith(marker) else body.find(delimiter) + 2  # behind a preamble
    heading_end = body.find(b"\r\n\r\n", begin, end)
    if heading_end < 0 or body.find(delimiter, heading_end, end) >= 0:
        raise ImageError("archive_error", "the archive does not answer with one object, which was asked for")
    return body[heading_end + 4 : end]


def _kind_and_boundary(content_type: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = message.get_boundary("")
    return message.get_content_type(), boundary if isinstance(boundary, str) else ""
