"""Compressed frames → sample arrays: one table from transfer syntax to the decoders that can read it, best first.

A decoder that fails on a stream it claims falls through to the next; the one that succeeded is named in the result.
The claim of the code stream is checked before any decoder may allocate it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrzero.errors import ImageError
from cxrzero.images.codestream import Claim, read_claim
from cxrzero.images.reduced import reduced_samples

Samples = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What the header says of one frame: rows, columns, samples per pixel, bits allocated, colours, sign."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    is_rgb: bool = False
    signed: bool = False

    @property
    def array_shape(self) -> tuple[int, ...]:
        """(rows, columns), or (rows, columns, samples) when there are several."""
        return (self.rows, self.columns, self.samples)[: 3 if self.samples > 1 else 2]


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        samples: (rows, columns) or (rows, columns, samples) integers. Colours are those of the header's photometric
            interpretation, or RGB for `DECODED_TO_RGB`.
        decoder: its name.
        claim: what its code stream says; None where there is none: samples are words as allocated (native, RLE).
        factor: pixels of the stored frame, along a side, for each of these; 1 for one that is decoded in full.
    """

    samples: Samples
    decoder: str
    claim: Claim | None = None
    factor: int = 1


Decoder = Callable[[bytes, FrameShape, Claim], Samples]
# As `decode_frame` below: (stream, transfer syntax, what the header says, least side) → frame.
DecodeFrame = Callable[[bytes, str, FrameShape, int | None], Frame]


def _imagecodecs_jpeg(stream: bytes, shape: FrameShape, claim: Claim) -> Samples:
    """libjpeg-turbo: baseline and extended, 8 and 12 bit; colour components are returned as RGB."""
    if claim.samples == 1:
        return np.asarray(imagecodecs.jpeg8_decode(stream))
    is_ybr = claim.is_ybr if claim.is_ybr is not None else not shape.is_rgb
    return np.asarray(imagecodecs.jpeg8_decode(stream, colorspace="YCBCR" if is_ybr else "RGB", outcolorspace="RGB"))


def _imagecodecs_jpeg_lossless(stream: bytes, shape: FrameShape, claim: Claim) -> Samples:
    """libjpeg-turbo; lossless JPEG codes the components as they are, so no colour is converted."""
    if claim.samples == 1:
        return np.asarray(imagecodecs.jpeg8_decode(stream))
    return np.asarray(imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB"))


def _pillow_jpeg(stream: bytes, shape: FrameShape, claim: Claim) -> Samples:
    if claim.samples != 1 and claim.is_ybr is None:
        raise ValueError("Pillow would guess the colour space")
    with Image.open(io.BytesIO(stream), formats=["JPEG"]) as image:
        return np.asarray(image)


def _pillow_jpeg2000(stream: bytes, shape: FrameShape, claim: Claim) -> Samples:
    if claim.bits != 8 or claim.signed:
        raise ValueError("Pillow shifts samples of other than 8 bits, and those with a sign")
    with Image.open(io.BytesIO(stream), formats=["JPEG2000"]) as image:
        return np.asarray(image)


def _simple(name: str) -> Decoder:
    return lambda stream, shape, claim: np.asarray(getattr(imagecodecs, name)(stream))


# libjpeg-turbo refuses some lossless streams (predictor, restart or point transform); two others read those.
_JPEG: tuple[tuple[str, Decoder], ...] = (
    ("imagecodecs/jpeg8", _imagecodecs_jpeg),
    ("pillow/JPEG", _pillow_jpeg),
)
_JPEG_LOSSLESS: tuple[tuple[str, Decoder], ...] = (
    ("imagecodecs/jpeg8", _imagecodecs_jpeg_lossless),
    ("imagecodecs/ljpeg", _simple("ljpeg_decode")),
    ("imagecodecs/jpegsof3", _simple("jpegsof3_decode")),
)
_JPEG_LS: tuple[tuple[str, Decoder], ...] = (("imagecodecs/jpegls", _simple("jpegls_decode")),)
# OpenJPEG reads HTJ2K too. imagecodecs' own HTJ2K decoder (OpenJPH) is twice as fast, but returns a half-filled
# picture, and no error, for a broken stream.
_JPEG2000: tuple[tuple[str, Decoder], ...] = (
    ("imagecodecs/jpeg2k", _simple("jpeg2k_decode")),
    ("pillow/JPEG2000", _pillow_jpeg2000),
)
_HTJ2K: tuple[tuple[str, Decoder], ...] = (("imagecodecs/jpeg2k", _simple("jpeg2k_decode")),)

# Baseline and extended JPEG: the stream tells its colour space, and the decoder returns RGB whatever it was.
DECODED_TO_RGB = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
RLE_LOSSLESS = "1.2.840.10008.1.2.5"

# PS3.5, A.4: transfer syntaxes with encapsulated pixels; RLE has its own decoder below.
DECODERS = MappingProxyType(
    {
        "1.2.840.10008.1.2.4.50": _JPEG,
        "1.2.840.10008.1.2.4.51": _JPEG,
        "1.2.840.10008.1.2.4.57": _JPEG_LOSSLESS,
        "1.2.840.10008.1.2.4.70": _JPEG_LOSSLESS,
        "1.2.840.10008.1.2.4.80": _JPEG_LS,
        "1.2.840.10008.1.2.4.81": _JPEG_LS,
        "1.2.840.10008.1.2.4.90": _JPEG2000,
        "1.2.840.10008.1.2.4.91": _JPEG2000,
        "1.2.840.10008.1.2.4.92": _JPEG2000,
        "1.2.840.10008.1.2.4.93": _JPEG2000,
        "1.2.840.10008.1.2.4.201": _HTJ2K,
        "1.2.840.10008.1.2.4.202": _HTJ2K,
        "1.2.840.10008.1.2.4.203": _HTJ2K,
    }
)


def is_compressed(transfer_syntax: str) -> bool:
    """Whether a standard transfer syntax says so: RLE, and all that stand beside JPEG (PS3.5, A.4; PS3.6, A)."""
    return transfer_syntax == RLE_LOSSLESS or transfer_syntax.startswith("1.2.840.10008.1.2.4.")


def decode_frame(stream: bytes, transfer_syntax: str, shape: FrameShape, least_side: int | None = None) -> Frame:
    """Decode one frame.

    Args:
        stream: the frame's fragments, joined.
        transfer_syntax: its UID.
        shape: what the header claims.
        least_side: pixels that a side of a grey frame has to keep where its stream can be decoded at a fraction of its
            size; None decodes it in full.

    Raises:
        ImageError: "unsupported_transfer_syntax", "missing_codec", "truncated", "corrupt_codestream", "size_mismatch".
    """
    if transfer_syntax == RLE_LOSSLESS:
        return Frame(decode_rle(stream, shape), "cxrzero/rle")
    claim = checked_claim(stream, transfer_syntax, shape)
    # Bits that a stream takes for unsigned, and that hold a sign, are no amounts: no mean of them makes sense.
    if least_side is not None and claim.signed == shape.signed:
        found = reduced_samples(stream, claim, least_side)
        if found is not None:
            samples, factor, name = found
            return Frame(samples, name, claim, factor)
    missing = []
    for name, decode in DECODERS[transfer_syntax]:
        try:
            samples = decode(stream, shape, claim)
        except ImportError:  # what imagecodecs raises where its build left a codec out
            missing.append(name)
            continue
        # Decoders raise classes of their own, RuntimeError, ValueError, OSError and more; each means "not by me".
        except Exception:
            continue
        if samples.shape == shape.array_shape and samples.dtype.kind in "iu":
            return Frame(samples, name, claim)
    if missing:
        raise ImageError("missing_codec", f"this installation lacks {', '.join(missing)}; reinstall imagecodecs")
    tried = ", ".join(name for name, _ in DECODERS[transfer_syntax])
    raise ImageError("corrupt_codestream", f"the compressed pixels ({claim.kind}) cannot be decoded (tried {tried})")


def checked_claim(stream: bytes, transfer_syntax: str, shape: FrameShape) -> Claim:
    """What the stream of a frame claims, before a decoder allocates it; RLE claims nothing.

    Raises:
        ImageError: "unsupported_transfer_syntax", "truncated", "corrupt_codestream", "size_mismatch".
    """
    if transfer_syntax not in DECODERS:
        raise ImageError("unsupported_transfer_syntax", f"no decoder for the transfer syntax {transfer_syntax[:64]}")
    claim = read_claim(stream)
    if (claim.rows, claim.columns, claim.samples) != (shape.rows, shape.columns, shape.samples):
        raise ImageError(
            "size_mismatch",
            f"the compressed pixels are {claim.rows} × {claim.columns} × {claim.samples}, "
            f"the header says {shape.rows} × {shape.columns} × {shape.samples}",
        )
    return claim


def decode_rle(stream: bytes, shape: FrameShape) -> Samples:
    """RLE Lossless (PS3.5, annex G): byte planes, most significant first, each PackBits-compressed.

    Returns:
        (rows, columns) or (rows, columns, samples) unsigned integers of `bits_allocated` bits.

    Raises:
        ImageError: "truncated" when a segment is short, "corrupt_codestream" when the header is impossible.
    """
    if len(stream) < 64:
        raise ImageError("truncated", "the RLE frame is shorter than its header")
    n_segments, *offsets = struct.unpack("<16I", stream[:64])
    width = shape.bits_allocated // 8
    if shape.bits_allocated not in (8, 16, 32) or n_segments != shape.samples * width:
        raise ImageError("corrupt_codestream", "the RLE frame does not have one segment per byte of a pixel")
    bounds = [*offsets[:n_segments], len(stream)]
    if bounds[0] < 64 or any(a >= b for a, b in pairwise(bounds)):
        raise ImageError("corrupt_codestream", "the RLE frame's segments are out of order")
    size = shape.rows * shape.columns
    planes = np.empty((shape.samples, width, size), np.uint8)
    for i in range(n_segments):
        plane = _unpack_bits(stream[bounds[i] : bounds[i + 1]], size)
        planes[i // width, i % width] = plane
    # Planes run from the most significant byte: together they are big-endian integers.
    samples = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(f">u{width}")
    return samples.astype(f"=u{width}").reshape(shape.array_shape)


def _unpack_bits(segment: bytes, size: int) -> npt.NDArray[np.uint8]:
    """PackBits (PS3.5, G.3.2). What follows the plane's last byte is padding, whatever its length."""
    try:
        out = np.frombuffer(imagecodecs.packbits_decode(segment, out=size + 128), np.uint8)
    except RuntimeError:  # the base of imagecodecs.ImcdError, which exists only once its module is loaded
        out = np.frombuffer(imagecodecs.packbits_decode(_runs(segment, size), out=size + 128), np.uint8)
    if len(out) < size:
        raise ImageError("truncated", "an RLE segment ends before its last pixel")
    return out[:size]


def _runs(segment: bytes, size: int) -> bytes:
    """The runs of a segment until they make `size` bytes, or as many as are whole."""
    at = made = end = 0
    while made < size and at < len(segment):
        head = segment[at]
        at, run = (at + 2 + head, head + 1) if head < 128 else (at + 2, 257 - head) if head > 128 else (at + 1, 0)
        if at > len(segment):
            break
        end, made = at, made + run
    return segment[:end]
