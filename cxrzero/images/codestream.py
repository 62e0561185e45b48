"""Headers of JPEG, JPEG-LS and JPEG 2000 code streams: what they claim, before a decoder allocates it.

Decoders pad a cut stream with grey and say nothing. Here a stream is whole when its end marker follows its last scan.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from cxrzero.errors import ImageError

# ITU-T T.81, table B.1: SOF0-15 except DHT (C4), JPG (C8) and DAC (CC); ITU-T T.87: SOF55 (F7).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_JPEG_LS = 0xF7
# T.81, table B.1: sequential, differential, and both with arithmetic coding; all other processes are lossy.
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA

# In a scan, FF 00 is a stuffed FF, FF D0-D7 a restart, FF FF a fill byte (T.81, B.1.1.5);
# in JPEG-LS a bit, not a byte, is stuffed: FF is followed by a byte below 80 (T.87, 9.1). Fill bytes in
# front of a marker are not matched along: a pattern that begins with one plain byte is found twenty times as fast.
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARKER_IN_JPEG_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")

# ISO/IEC 15444-1, table A.2: extended capabilities, coding style (of a component), start of a tile-part, end of the
# code stream.
_CAP, _COD, _COC, _SOT, _EOC = 0xFF50, 0xFF52, 0xFF53, 0xFF90, 0xFFD9

Kind = Literal["JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a code stream says it holds.

    Attributes:
        rows, columns, samples: the shape that a decoder would allocate.
        bits: precision of a sample.
        kind: which standard it follows; HTJ2K is JPEG 2000.
        lossy: decoded samples may differ from what was encoded: any JPEG but the lossless process, JPEG-LS with
            NEAR > 0, JPEG 2000 with the irreversible transform.
        signed: two's complement samples (JPEG 2000 only).
        is_ybr: a JPEG's components are YCbCr, by the Adobe or JFIF marker; None where the stream does not say.
        was_rgb: a JPEG 2000 stream transforms RGB, so that RGB is what decoders return, whatever a header says.
        extended: a JPEG 2000 stream needs more than part 1 of the standard, as HTJ2K does.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    kind: Kind
    lossy: bool
    signed: bool = False
    is_ybr: bool | None = None
    was_rgb: bool = False
    extended: bool = False


def begins_stream(head: bytes) -> bool:
    """Whether a JPEG, JPEG-LS or JPEG 2000 stream, or a JP2 file, starts with these (12) bytes."""
    return head[:3] == b"\xff\xd8\xff" or head[:4] == b"\xff\x4f\xff\x51" or head[4:8] == b"jP  "


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
            kind: Kind = "JPEG-LS" if marker == _JPEG_LS else "lossless JPEG" if marker in _LOSSLESS else "JPEG"
            claim = Claim(rows, columns, samples, bits, kind, lossy=kind == "JPEG")
            scan = _MARKER_IN_JPEG_LS_SCAN if marker == _JPEG_LS else _MARKER_IN_SCAN
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == 0xE0 and body[:5] == b"JFIF\0":
            jfif = True
        at += length
        if marker == _SOS:
            if claim is not None and claim.kind == "JPEG-LS":  # NEAR follows the components' selectors (T.87, C.2.3)
                claim = replace(claim, lossy=claim.lossy or body[1 + 2 * body[0]] > 0)
            found = scan.search(stream, at)
            if found is None:
                raise ImageError("truncated", "the JPEG stream ends before its end marker")
            at = found.end() - 2
    if claim is None:
        raise ImageError("corrupt_codestream", "the JPEG stream has no frame header")
    is_ybr = adobe != 0 if adobe is not None else True if jfif else False if ids == b"RGB" else None
    return replace(claim, is_ybr=is_ybr if claim.samples == 3 else None)


def _jpeg2000_claim(stream: bytes) -> Claim:
    """Walk the main header from SIZ (ISO/IEC 15444-1, A.5.1); a JP2 file's boxes before it are skipped."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start < 0:
        raise ImageError("corrupt_codestream", "the compressed pixels are neither JPEG nor JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    samples, depth = struct.unpack_from(">HB", stream, start + 40)
    lossy, was_rgb, extended = False, False, False
    first_tile = start
    for first_tile, marker, body in _main_header(stream, start):  # noqa: B007 (the last is that of the first tile-part)
        # The last number of the coding style that both have is the transform: 0 is irreversible (A.6.1 and A.6.2).
        if marker == _CAP:
            extended = True
        elif marker == _COD:
            was_rgb = body[4] == 1  # multiple component transformation (A.6.1)
            lossy |= body[9] == 0
        elif marker == _COC:
            lossy |= body[6 if samples < 257 else 7] == 0
    if not _reaches_its_end(stream, first_tile):
        raise ImageError("truncated", "the JPEG 2000 stream has no end marker")
    bits, signed = (depth & 0x7F) + 1, bool(depth & 0x80)
    rows, columns = bottom - top, right - left
    return Claim(rows, columns, samples, bits, "JPEG 2000", lossy, signed, was_rgb=was_rgb, extended=extended)


def _main_header(stream: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each segment between SOC and the first tile-part begins, its marker and body; that SOT comes last."""
    at, marker = start + 2, 0
    while marker != _SOT:
        marker, length = struct.unpack_from(">2H", stream, at)
        if marker < 0xFF00:
            raise ImageError("corrupt_codestream", "the JPEG 2000 stream has no marker where one must be")
        body = stream[at + 4 : at + 2 + length]
        yield at, marker, body
        at += 4 + len(body)


def most_halvings(stream: bytes) -> int:
    """How often a decoder may halve a JPEG 2000 picture, from its first pixel on; 0 where that cannot be told.

    It is the number of decomposition levels of the component that has fewest (ISO/IEC 15444-1, A.6.1 and A.6.2). A
    picture that begins elsewhere than its grid, or whose samples lie further apart, is not to be halved.
    """
    start, levels = stream.find(b"\xff\x4f\xff\x51"), []
    try:
        left, top = struct.unpack_from(">2I", stream, start + 16)
        samples, _, across, down = struct.unpack_from(">H3B", stream, start + 40)
        for _, marker, body in _main_header(stream, start):
            if marker == _COD:
                levels.append(body[5])
            elif marker == _COC:
                levels.append(body[2 if samples < 257 else 3])
    except (struct.error, IndexError, ImageError):
        return 0
    return min(levels, default=0) if start >= 0 and (left, top, across, down) == (0, 0, 1, 1) else 0


def _reaches_its_end(stream: bytes, at: int) -> bool:
    """Whether the end marker follows the tile-parts, of which each states its length (A.4.2); else comes last of all.

    What stands behind it is padding.
    """
    while stream[at : at + 2] == _SOT.to_bytes(2):
        length = int.from_bytes(stream[at + 6 : at + 10])
        if length < 14:  # 0: this tile-part runs to the end marker, which cannot occur within it
            return length == 0 and stream.find(_EOC.to_bytes(2), at) > 0
        at += length
    end = _EOC.to_bytes(2)
    return stream[at : at + 2] == end or end in stream.rstrip(b"\0")[-3:]
