"""Letters as they are compared, not as they are shown."""

from __future__ import annotations

import unicodedata


def without_accents(text: str) -> str:
    """Decompose letters (Unicode's NFKD) and drop what combines with them: "tórax" is "torax", "ﬁ" is "fi"."""
    if text.isascii():
        return text
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
