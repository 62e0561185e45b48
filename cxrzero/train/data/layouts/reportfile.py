"""Report files → text, with what was wrong kept for the user."""

from __future__ import annotations

from pathlib import Path

from cxrzero.train.data.layouts.record import Source
from cxrzero.train.data.reports import decode_report

MAX_REPORT_BYTES = 1 << 20  # a report has a few kB; a file of more is something else


def read_bytes(path: Path, source: Source) -> bytes | None:
    """The bytes of a small file, or None and a problem."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        source.problems.append(f"{path}: {error.strerror}")
        return None
    if len(data) > MAX_REPORT_BYTES:
        source.problems.append(f"{path}: over {MAX_REPORT_BYTES >> 20} MB, which no report has")
        return None
    return data


def read_report(path: Path, source: Source) -> str | None:
    """The text of a report file, or None and a problem; its encoding is counted."""
    data = read_bytes(path, source)
    if data is None:
        return None
    try:
        decoded = decode_report(data)
    except ValueError as error:
        source.problems.append(f"{path}: {error}")
        return None
    source.encodings[decoded.encoding] += 1
    return decoded.text
