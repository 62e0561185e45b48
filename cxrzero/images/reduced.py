"""Decoding at a half, a quarter or an eighth of the size: detail that a decoder leaves out costs it nothing.

JPEG 2000 and HTJ2K keep a picture as ever finer halves, and leave the finest out; JPEG takes fewer numbers of each
block. Both through Pillow, whose OpenJPEG and libjpeg can: imagecodecs offers it for neither, but for HTJ2K, where it
hides errors.
"""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from cxrzero.images.codestream import Claim, most_halvings
from cxrzero.images.quiet import ignore_warnings_of

Samples = npt.NDArray[Any]

# libjpeg's scaled decoding knows 1/2, 1/4 and 1/8.
MAX_HALVINGS = 3
# Bits of a sample in Pillow's modes of one band.
_MODE_BITS = {"L": 8, "I;16": 16}


def halvings(sides: tuple[int, int], least: int) -> int:
    """How often both sides of a picture can be halved and keep at least `least` pixels; at most three times."""
    count = 0
    while count < MAX_HALVINGS and min(sides) >> (count + 1) >= least:
        count += 1
    return count


def reduced_samples(stream: bytes, claim: Claim, least: int) -> tuple[Samples, int, str] | None:
    """A grey frame at the smallest size that keeps `least` pixels a side; None where it must be decoded in full.

    Args:
        stream: a whole JPEG, JPEG 2000 or HTJ2K stream.
        claim: what it says.
        least: pixels.

    Returns:
        (rows / factor, columns / factor) integers, rounded up, with the depth and the sign of the stream; the factor;
        the decoder's name.
    """
    if claim.samples != 1 or claim.bits > 16:
        return None
    count = halvings((claim.rows, claim.columns), least)
    if claim.kind == "JPEG 2000":
        count = min(count, most_halvings(stream))
    if not count or not (claim.kind == "JPEG 2000" or (claim.kind == "JPEG" and claim.bits == 8)):
        return None
    ignore_warnings_of("PIL")
    decode = _jpeg2000 if claim.kind == "JPEG 2000" else _jpeg
    try:
        samples = decode(stream, claim, count)
    except Exception:  # Pillow raises a dozen classes; the decoder of the whole picture says what is wrong
        return None
    if samples.shape != (-(-claim.rows >> count), -(-claim.columns >> count)):
        return None
    return samples, 1 << count, f"pillow/{'JPEG2000' if claim.kind == 'JPEG 2000' else 'JPEG'}"


def _jpeg(stream: bytes, claim: Claim, count: int) -> Samples:
    with Image.open(io.BytesIO(stream), formats=["JPEG"]) as image:
        image.draft(None, (claim.columns >> count, claim.rows >> count))
        return np.asarray(image)


def _jpeg2000(stream: bytes, claim: Claim, count: int) -> Samples:
    """Pillow adds half the range to samples with a sign, and shifts all up to 8 or 16 bits: both are undone."""
    with Image.open(io.BytesIO(stream), formats=["JPEG2000"]) as image:
        bits = _MODE_BITS[image.mode]
        if bits != (8 if claim.bits <= 8 else 16) or image.size != (claim.columns, claim.rows):
            raise ValueError("a JP2 header that contradicts the code stream")
        samples = np.asarray(_halved(image, count)) >> (bits - claim.bits)
    if claim.signed:
        samples = (samples.astype(np.int32) - (1 << (claim.bits - 1))).astype(f"i{bits // 8}")
    return centred(samples, 1 << count)


def halved_jpeg2000(image: ImageFile.ImageFile, count: int) -> Image.Image:
    """Decode an opened JPEG 2000 file, `count` times halved; of the same mode."""
    halved = _halved(image, count)
    return Image.frombytes(halved.mode, halved.size, centred(np.asarray(halved), 1 << count).tobytes())


def _halved(image: ImageFile.ImageFile, count: int) -> Image.Image:
    """Pillow's own `reduce` rounds the sides to the nearest, OpenJPEG up: it fails on every other picture whose sides
    are not multiples. So the decoder is given its place within a picture of the whole size, and that is cut out.
    """
    width, height = (-(-side >> count) for side in image.size)
    tile = image.tile[0]
    codec, _, *others = cast("tuple[Any, ...]", tile.args)
    image.tile = [tile._replace(extents=(0, 0, width, height), args=(codec, count, *others))]
    return image.crop((0, 0, width, height))


def centred(samples: Samples, factor: int) -> Samples:
    """Move samples to the middle of the pixels that each stands for; those of JPEG 2000 stand on the first of these.

    Linear between neighbours, exact but for one rounding. Without it a model sees the picture shifted by almost half
    a pixel, which makes up most of what its scores deviate by.

    Args:
        samples: (H, W) or (H, W, bands) integers of up to 16 bits.
        factor: 2, 4 or 8.
    """
    moved: Samples = samples.astype(np.int32)
    for axis in (0, 1):  # (factor + 1) / 2 factor of each, and the rest of the next; the last is its own neighbour
        following = np.concatenate([np.delete(moved, 0, axis), np.take(moved, [-1], axis)], axis)
        moved = moved * (factor + 1) + following * (factor - 1)
    return ((moved + 2 * factor * factor) // (4 * factor * factor)).astype(samples.dtype)
