"""Decoded samples → the stored values that a DICOM header describes.

Where header and code stream agree, both say the same. Where they do not:

- Words as allocated (native and RLE) and the lossless process of JPEG are masked to Bits Stored: other bits are
  overlays, or carries of differences modulo 2^16 (ITU-T T.81, H.1.2.1).
- Lossy streams may overshoot what they code: clipped to the range of Bits Stored, never masked. No overshoot is as
  large as that whole range, so samples further out show that the header is wrong, and the stream's depth counts.
- Lossless JPEG 2000 and JPEG-LS are read as the header says while all samples fit its Bits Stored; one that does not
  shows that the header is wrong, and the stream's depth counts, as in pydicom and GDCM.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cxrzero.images.codestream import Claim

Values = npt.NDArray[Any]


class StoredBits(NamedTuple):
    """How a header lays a stored value into its word (PS3.3, C.7.6.3.1).

    Attributes:
        bits: Bits Stored, 1 to 32.
        shift: High Bit + 1 − Bits Stored.
        signed: Pixel Representation.
    """

    bits: int
    shift: int
    signed: bool

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


def unpack_stored(raw: Values, stored: StoredBits) -> Values:
    """The stored values of PS3.5, 8.1.1: `bits` bits from bit `shift` up, two's complement when signed.

    Overlay bits and anything else outside of these bits is dropped.

    Args:
        raw: integer array of any shape and sign.

    Returns:
        int32 array, or int64 where 32 unsigned bits need it.
    """
    bits, shift, signed = stored
    wide: Values = raw.astype(np.int64 if bits + shift > 31 else np.int32)
    values = (wide >> shift) & ((1 << bits) - 1)
    if not signed:
        return values
    sign = 1 << (bits - 1)
    return (values ^ sign) - sign


def stored_values(samples: Values, claim: Claim | None, header: StoredBits) -> tuple[Values, StoredBits]:
    """The stored values of samples of any shape, and how they are stored: as the header says, or as the stream does.

    Args:
        samples: as decoded; a negative sample may be given as its two's complement bits.
        claim: what the code stream says; None for words as allocated.
        header: of the samples' file.
    """
    if claim is None:
        return unpack_stored(samples, header), header
    # Decoders of image formats return samples right-aligned, whatever High Bit says.
    aligned = header._replace(shift=0)
    if claim.kind == "lossless JPEG":
        return unpack_stored(samples, aligned), aligned
    coded = samples.view(f"i{samples.dtype.itemsize}") if claim.signed else samples
    if claim.lossy:
        return _clipped(coded.astype(np.int64), claim, aligned)
    # An unsigned stream holds a sign as two's complement bits (PS3.5, 8.2.1 to 8.2.4).
    low, high = (aligned.low, aligned.high) if claim.signed else (0, (1 << aligned.bits) - 1)
    fits = low <= int(coded.min()) and int(coded.max()) <= high
    found = aligned if fits else aligned._replace(bits=claim.bits)
    return unpack_stored(coded, found), found


def _clipped(coded: Values, claim: Claim, header: StoredBits) -> tuple[Values, StoredBits]:
    """Lossy samples, int64, within the range of the header; of the stream where they are too far out of it."""
    if header.signed and not claim.signed:
        # Two's complement of the header's bits, unless the stream's own sign bit is in use.
        deeper = claim.bits > header.bits and int(coded.max()) >> (claim.bits - 1) > 0
        bits = claim.bits if deeper else header.bits
        coded = unpack_stored(np.clip(coded, 0, (1 << bits) - 1), StoredBits(bits, 0, True))
    elif claim.signed and not header.signed and claim.bits <= header.bits:
        # A signed stream that has no room for the header's range holds its bits; a deeper one, numbers.
        coded = unpack_stored(coded, StoredBits(claim.bits, 0, False))
    span = 1 << header.bits
    if claim.bits > header.bits and not header.low - span <= coded.min() <= coded.max() <= header.high + span:
        header = header._replace(bits=claim.bits)
    return np.clip(coded, header.low, header.high), header
