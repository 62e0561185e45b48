"""A name that a terminal would obey, and how it is shown instead."""

from __future__ import annotations

HOSTILE = "x\x1b[2J\n\t\r\x07\x7f\x9b31m\u202e\u2066\u200b\u200f\u061c\u2028\u2029\ufeff[red]:skull:[link=u]"
SHOWN = r"x\x1b[2J\n\t\r\x07\x7f\x9b31m\u202e\u2066\u200b\u200f\u061c\u2028\u2029\ufeff[red]:skull:[link=u]"


def raw(text: str) -> list[str]:
    """What of a text a terminal or a page would act on, or nobody would see; line ends are its own."""
    return sorted({char for char in text if not (char.isprintable() or char == "\n")})
