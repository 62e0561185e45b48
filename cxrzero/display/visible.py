r"""What a terminal obeys, a page reorders or nobody can see, written out: `\x1b`, `\n`, `\u202e`.

A file may be called `film<ESC>[2J.dcm`; printed as it is, that clears the screen. Tables keep such names as they are,
for programs read them.
"""

from __future__ import annotations

import unicodedata

SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Letters and marks that show nothing (Unicode's Default_Ignorable_Code_Point); the rest of that set is not printable.
INVISIBLE = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
# `os.fsdecode` gives a byte that is not UTF-8, which Unix allows in names, as one of these.
BYTES = range(0xDC80, 0xDD00)
# Accents on one letter. More would be drawn over the lines above and below; no language writes as many.
MARKS = 8


def visible(text: str) -> str:
    r"""`text` with each character that is not printable written out, in the form of a Python string.

    Control characters, marks of direction, line and paragraph separators, zero-width and other invisible characters,
    lone surrogates; a byte of a file name that is not UTF-8 becomes `\xNN`, as in tables. Letters of every script and
    all widths of spaces stay, and so do accents, up to MARKS on one letter.
    """
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        shown.append(char if marks <= MARKS and _is_shown(char) else escaped(char))
    return "".join(shown)


def escaped(char: str) -> str:
    r"""One character in ASCII: `\n`, `\x1b`, `\u202e` or `\U000e0001`."""
    code = ord(char)
    if code in BYTES:
        code -= 0xDC00
    if code < 0x100:
        return SHORT.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_shown(char: str) -> bool:
    if char.isprintable():
        return char not in INVISIBLE
    return unicodedata.category(char) == "Zs"  # spaces of other widths
