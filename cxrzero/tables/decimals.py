"""Scores as text: the shortest decimal that reads back as the same float32, never with an exponent.

NumPy finds it number by number (`np.format_float_positional`). Here thousands are done at once: of a float32 below 1,
try 7 decimals, then 8 and so on, in float64; the first that reads back is the shortest. Up to 7 decimals one try is
enough: the nearest number of 7 decimals is then the shorter one with zeros behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A float32 needs 9 digits at most (IEEE 754): from 1e-6 on, the last one is the 14th after the point.
MIN_USUAL = 1e-6
MIN_DECIMALS, MAX_DECIMALS = 7, 14
# Text is put together from words of four bytes, of which the empty ones are taken out in the end.
WORD = 4
DIGIT_WORDS = 4
NO_BYTE = b"\0"


def _words(texts: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    return np.frombuffer(b"".join(text.ljust(WORD, NO_BYTE) for text in texts), np.uint32)


BEFORE_DIGITS = _words([b"0.", b"-0."])
FOUR_DIGITS = [b"%04d" % number for number in range(10**WORD)]
# The digits of 0 to 9999, then the same without the zeros at their end.
DIGITS = _words(FOUR_DIGITS + [digits.rstrip(b"0") for digits in FOUR_DIGITS])
BETWEEN, AFTER = _words([b",", b"\n"])


def joined_decimals(scores: Sequence[Sequence[float | None]]) -> list[str]:
    """The scores of each row as decimals joined by commas, nothing for None.

    Args:
        scores: (N, L), float32 numbers.
    """
    values = np.array(scores, np.float32)  # None becomes NaN
    if not values.size:
        return [""] * len(values)
    size = np.abs(values)
    is_usual = (size >= MIN_USUAL) & (size < 1)
    words = np.empty((*values.shape, DIGIT_WORDS + 2), np.uint32)
    words[..., 0] = BEFORE_DIGITS[(values < 0).view(np.uint8)]
    rest = _shortest(np.where(is_usual, size, np.float32(0.5))) * 10 ** (WORD * DIGIT_WORDS - MAX_DECIMALS)
    is_end = np.ones(values.shape, np.bool_)
    for word in range(DIGIT_WORDS, 0, -1):
        before = rest // 10**WORD
        four = rest - before * 10**WORD
        words[..., word] = DIGITS[four + is_end * 10**WORD]
        is_end &= four == 0
        rest = before
    words[..., -1] = BETWEEN
    words[:, -1, -1] = AFTER
    texts = words.tobytes().translate(None, NO_BYTE).decode("ascii").split("\n")[:-1]
    for row in np.flatnonzero(~is_usual.all(axis=1)):
        texts[row] = ",".join(map(_decimal, values[row]))
    return texts


def _shortest(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The shortest decimals of numbers in [MIN_USUAL, 1), times 10 ** MAX_DECIMALS."""
    exact = values.astype(np.float64)
    shortest = np.zeros(values.shape)
    for decimals in range(MIN_DECIMALS, MAX_DECIMALS + 1):
        nearest = np.rint(exact * 10.0**decimals)
        reads_back = (nearest / 10.0**decimals).astype(np.float32) == values
        np.copyto(shortest, nearest * 10.0 ** (MAX_DECIMALS - decimals), where=reads_back & (shortest == 0))
        if shortest.all():
            break
    return shortest.astype(np.int64)


def _decimal(value: np.float32) -> str:
    return "" if np.isnan(value) else np.format_float_positional(value, unique=True, trim="0")
