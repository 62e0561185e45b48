"""Output in an encoding that lacks a character (Latin-1, code page 437, ASCII): its nearest plain one is written."""

from __future__ import annotations

import codecs

from cxrzero.display.visible import escaped

# The name of the error handler, for `errors=` of a stream.
PLAIN = "cxrzero.plain"

SIGNS = {
    "…": "...", "–": "-", "—": "-", "−": "-", "‑": "-", "×": "x", "·": "-", "•": "*", "→": "->", "≤": "<=", "≥": ">=",
    "±": "+/-", "≈": "~", "‘": "'", "’": "'", "“": '"', "”": '"', "‖": "||", "⁺": "+", "⁻": "-", "²": "2", "³": "3",
    "σ": "sigma", "µ": "u", "μ": "u", "Δ": "delta ", "√": "sqrt", "°": " deg", "│": "|", "┃": "|", "║": "|", "╎": "|",
    "▏": "|", "←": "<-", "，": ",", "、": ",", "；": ";", "،": ",", "؛": ";",
}  # fmt: skip
HORIZONTAL = frozenset("─━═╌╍┄┅┈┉╴╶╸╺╼╾")


def degrade(error: UnicodeError) -> tuple[str, int]:
    """The error handler: a sign that looks alike, lines and corners of boxes in ASCII, else the form of `visible`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(char: str) -> str:
    if char in SIGNS:
        return SIGNS[char]
    if char in HORIZONTAL:
        return "-"
    if "─" <= char <= "╿":  # the block of box drawings: what is left are corners and crossings
        return "+"
    return escaped(char)


codecs.register_error(PLAIN, degrade)
