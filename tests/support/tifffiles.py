"""TIFF files made tag by tag, of kinds that no writer offers (TIFF 6.0)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile

SIZES = {3: "H", 4: "I"}  # SHORT, LONG
COMPRESSED: dict[int, Callable[[bytes], bytes]] = {
    1: bytes,
    5: lambda raw: bytes(imagecodecs.lzw_encode(raw)),
    8: zlib.compress,
    32773: lambda raw: bytes(imagecodecs.packbits_encode(raw)),
    34925: lambda raw: bytes(imagecodecs.lzma_encode(raw)),
    50000: lambda raw: bytes(imagecodecs.zstd_encode(raw)),
}


def written(samples: np.ndarray, **how: Any) -> bytes:
    """As `tifffile` writes it, without a description."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **how)
    return buffer.getvalue()


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """(rows, n) unsigned integers, each of `bits` bits, rows padded to whole bytes (TIFF 6.0, section 3)."""
    if bits in (16, 32, 64):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def tiff(samples: np.ndarray, bits: int, photometric: int, *, order: str = "<", compression: int = 1, planar: int = 1,
         fill_order: int = 1, rows: int = 10, pad_last: bool = False, more: dict[int, list[int]] | None = None,
         without: tuple[int, ...] = ()) -> bytes:  # fmt: skip
    """(H, W, bands) unsigned integers in strips.

    Args:
        pad_last: the last strip is as long as the others.
        more: further tags or other values, all SHORT.
        without: tags that are left out.
    """
    height, width, bands = samples.shape
    planes = [samples.reshape(height, -1)] if planar == 1 else [samples[..., band] for band in range(bands)]
    strips = []
    for plane in planes:
        for top in range(0, height, rows):
            part = plane[top : top + rows]
            if pad_last:
                part = np.pad(part, ((0, rows - len(part)), (0, 0)))
            strip = COMPRESSED[compression](packed(part, bits, order))
            if fill_order == 2:
                strip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
            strips.append(strip)
    offsets = (8 + np.cumsum([0, *map(len, strips[:-1])])).tolist()
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * bands), 259: (3, [compression]),
        262: (3, [photometric]), 266: (3, [fill_order]), 273: (4, offsets), 277: (3, [bands]), 278: (4, [rows]),
        279: (4, [len(strip) for strip in strips]), 284: (3, [planar]),
    }  # fmt: skip
    tags |= {tag: (3, values) for tag, values in (more or {}).items()}
    return _file(order, b"".join(strips), {tag: tags[tag] for tag in sorted(tags) if tag not in without})


def _file(order: str, content: bytes, tags: dict[int, tuple[int, list[int]]]) -> bytes:
    """Header, content from byte 8, values that do not fit into their tags, and the directory."""
    entries = b""
    for tag, (kind, values) in tags.items():
        raw = struct.pack(f"{order}{len(values)}{SIZES[kind]}", *values)
        if len(raw) > 4:
            at = 8 + len(content)
            content, raw = content + raw, struct.pack(order + "I", at)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(content))
    return head + content + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0"
