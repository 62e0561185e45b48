"""Bytes of a report file → text, by a rule that is stated and counted."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

# The longest first: the mark of UTF-32 (little endian) begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A report's text and the encoding that it was in."""

    text: str
    encoding: str


def decode_report(data: bytes) -> Decoded:
    """A byte order mark decides; else UTF-8 if the bytes are valid UTF-8; else Windows-1252 (of which Latin-1's letters
    are a part), as Western hospital systems write.

    Raises:
        ValueError: the bytes are not text: NUL bytes, or bytes that none of these encodings has.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            name = "utf-8-sig" if encoding == "utf-8" else encoding
            return Decoded(_decode(data, name), encoding)
    if b"\0" in data:
        raise ValueError("it holds NUL bytes and is not a text file")
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        return Decoded(_decode(data, "cp1252"), "cp1252")


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(
            f"it is text neither in UTF-8 nor in {encoding.upper()}; save it as UTF-8, e.g. with iconv -t UTF-8"
        ) from None
