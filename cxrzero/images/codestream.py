"""Headers of JPEG, JPEG-LS and JPEG 2000 code streams: what they claim, before a decoder allocates it.

Decoders pad a cut stream with grey and say nothing. Here a stream is whole when its end marker follows its last scan.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from cxrzero.errors import ImageError

# ITU-T T.81, table B.1: SOF0-15 except DHT (C4), JPG (C8) and DAC (CC); ITU-T T.87: SOF55 (F7).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_JPEG_LS = 0xF7
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA

# In a scan, FF 00 is a stuffed FF, FF D0-D7 a restart, FF FF a fill byte (T.81, B.1.1.5);
# in JPEG-LS a bit, not a byte, is stuffed: FF is followed by a byte below 80 (T.87, 9.1).
_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_MARKER_IN_JPEG_LS_SCAN = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a code stream says it holds.

    Attributes:
        rows, columns, samples: the shape that a decoder would allocate.
        bits: precision of a sample.
        signed: two's complement samples (JPEG 2000 only).
        is_ybr: a JPEG's components are YCbCr, by the Adobe or JFIF marker; None where the stream does not say.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    is_ybr: bool | None = None


def read_claim(stream: bytes) -> Claim:
    """The claim of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream that is whole.

    Raises:
        ImageError: "truncated" when the stream ends early, "corrupt_codestream" when it has no readable header.
    """
    try:
        return _jpeg_claim(stream) if stream[:2] == b"\xff\xd8" else _jpeg2000_claim(stream)
    except (struct.error, IndexError):
        raise ImageError("truncated", "the compressed pixels end inside their header") from None


def _jpeg_claim(stream: bytes) -> Claim:
    """Walk the marker segments (T.81, annex B) from SOI to EOI."""
    at, claim, marker = 2, None, _SOI
    adobe: int | None = None
    jfif, ids = False, b""
    scan = _MARKER_IN_SCAN
    while True:
        while stream[at] == 0xFF and stream[at + 1] == 0xFF:
            at += 1
        if stream[at] != 0xFF:
            raise ImageError("corrupt_codestream", "the JPEG stream has no marker where one must be")
        marker, at = stream[at + 1], at + 2
        if marker == _EOI:
            break
        length = struct.unpack_from(">H", stream, at)[0]
        body = stream[at + 2 : at + length]
        if marker in _FRAME_MARKERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", body)
            ids = bytes(body[6 + 3 * i] for i in range(samples))
            claim = Claim(rows, columns, samples, bits)
            scan = _MARKER_IN_JPEG_LS_SCAN if marker == _JPEG_LS else _MARKER_IN_SCAN
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == 0xE0 and body[:5] == b"JFIF\0":
            jfif = True
        at += length
        if marker == _SOS:
            found = scan.search(stream, at)
            if found is None:
                raise ImageError("truncated", "the JPEG stream ends inside its pixels")
            at = found.end() - 2
    if claim is None:
        raise ImageError("corrupt_codestream", "the JPEG stream has no frame header")
    is_ybr = adobe != 0 if adobe is not None else True if jfif else False if ids == b"RGB" else None
    return Claim(claim.rows, claim.columns, claim.samples, claim.bits, is_ybr=is_ybr if claim.samples == 3 else None)


def _jpeg2000_claim(stream: bytes) -> Claim:
    """Read the SIZ segment (ISO/IEC 15444-1, A.5.1); a JP2 file's boxes before it are skipped by looking for it."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise ImageError("corrupt_codestream", "the compressed pixels are neither JPEG nor JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    samples, depth = struct.unpack_from(">HB", stream, start + 40)
    if b"\xff\xd9" not in stream[-64:].rstrip(b"\0")[-3:]:
        raise ImageError("truncated", "the JPEG 2000 stream has no end marker")
    return Claim(bottom - top, right - left, samples, (depth & 0x7F) + 1, signed=bool(depth & 0x80))
