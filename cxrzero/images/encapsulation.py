"""Encapsulated Pixel Data (PS3.5, A.4): fragments → the code stream of each frame, read one at a time.

Offset tables are often empty and sometimes wrong, so they are asked only where nothing else tells the frames apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from cxrzero.errors import ImageError
from cxrzero.images.bounded_file import BoundedFile
from cxrzero.images.codestream import begins_stream
from cxrzero.images.dicom_file import UNDEFINED_LENGTH, DicomFile, binary

# A frame of 37 MB, the largest that detectors make, has 600 fragments of 64 KiB.
MAX_FRAGMENTS = 1 << 18

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class Fragment:
    """The value of one item.

    Attributes:
        at: where its item begins, from the start of the file.
        start: where its value begins.
        length: bytes that the item states.
        begins_frame: a code stream starts here.
    """

    at: int
    start: int
    length: int
    begins_frame: bool

    @property
    def end(self) -> int:
        return self.start + self.length


def frame_streams(dicom: DicomFile, frames: int) -> Iterator[bytes]:
    """The code stream of each frame, its fragments joined.

    Args:
        dicom: positioned at the value of its pixel data: items, or one bare code stream.
        frames: how many the header states.

    Raises:
        ImageError: "truncated", "corrupt_codestream".
    """
    fragments = list(islice(_fragments(dicom.file, dicom.pixel_length), MAX_FRAGMENTS + 1))
    if len(fragments) > MAX_FRAGMENTS:
        raise ImageError("corrupt_codestream", f"the compressed pixel data has more than {MAX_FRAGMENTS} fragments")
    end = fragments[-1].end if fragments else dicom.file.size
    offsets, fragments = _without_table(dicom, fragments, frames)
    if not fragments and end + 8 > dicom.file.size:
        raise ImageError("truncated", "the file ends before its compressed pixels")
    if not fragments:
        raise ImageError("corrupt_codestream", "the compressed pixel data holds no fragments")
    groups = _by_frame(fragments, frames, offsets)
    for group in groups[:frames]:
        if group[-1].end > dicom.file.size:
            raise ImageError("truncated", "the file ends inside its compressed pixels")
        yield b"".join(_value(dicom.file, fragment) for fragment in group)
    if len(groups) < frames:
        raise ImageError("truncated", "the file holds fewer frames than its header says")


def _fragments(file: BoundedFile, length: int) -> Iterator[Fragment]:
    """Yield every item until the delimiter, the end of a stated length, of the file, or of what can be an item."""
    at = file.tell()
    end = file.size if length == UNDEFINED_LENGTH else min(at + length, file.size)
    if length != UNDEFINED_LENGTH and begins_stream(_read(file, at, 12)):
        yield Fragment(at, at, length, True)
        return
    while at + 8 <= end:
        head = _read(file, at, 20)
        if head[:4] != ITEM and head[1:5] in (ITEM, DELIMITER):  # a pad byte that an odd length leaves out
            at, head = at + 1, head[1:]
        if head[:4] != ITEM:
            return
        size = struct.unpack_from("<I", head, 4)[0]
        yield Fragment(at, at + 8, size, begins_stream(head[8:]))
        at += 8 + size


def _without_table(dicom: DicomFile, fragments: list[Fragment], frames: int) -> tuple[list[int], list[Fragment]]:
    """Offsets of the frames from the first fragment, [] where none are stated, and the fragments that hold pixels.

    The first item is the Basic Offset Table, unless it holds a code stream itself.
    """
    if not fragments:
        return [], []
    table, rest = fragments[0], [fragment for fragment in fragments[1:] if fragment.length]
    if table.begins_frame or (not rest and table.length > 4 * frames):
        return [], fragments
    extended = binary(dicom.header, "ExtendedOffsetTable")
    if extended:
        return np.frombuffer(extended[: len(extended) // 8 * 8], "<u8").tolist(), rest
    stated = _value(dicom.file, table) if table.length <= 4 * frames else b""
    return np.frombuffer(stated[: len(stated) // 4 * 4], "<u4").tolist(), rest


def _by_frame(fragments: list[Fragment], frames: int, offsets: list[int]) -> list[list[Fragment]]:
    if frames == 1:
        return [fragments]
    places = {fragment.at - fragments[0].at: i for i, fragment in enumerate(fragments)}
    ascend = all(a < b for a, b in pairwise([-1, *offsets]))
    if len(fragments) == frames:
        starts = list(range(frames))
    elif len(offsets) == frames and ascend and {*offsets, 0} <= places.keys():
        starts = [places[offset] for offset in offsets]
    else:  # RLE has nothing that tells where a frame begins, but each is one fragment (PS3.5, A.4.2)
        starts = [i for i, fragment in enumerate(fragments) if fragment.begins_frame] or list(range(len(fragments)))
    return [fragments[a:b] for a, b in pairwise([*starts, len(fragments)])]


def _value(file: BoundedFile, fragment: Fragment) -> bytes:
    return _read(file, fragment.start, fragment.length)


def _read(file: BoundedFile, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
