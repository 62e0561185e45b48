"""Numbers and lists in a sentence: "1 row", "2,000 rows", "cpu, cuda or auto"."""

from __future__ import annotations

from collections.abc import Sequence

VOWELS = "aeiou"


def counted(n: int, one: str, several: str | None = None) -> str:
    """A number with its noun, or with noun and verb: "1 study", "2 studies", "1 row is", "1,000 rows are".

    Args:
        one: what follows 1.
        several: what follows any other number; by default the regular plural of `one`.
    """
    return f"{n:,} {one if n == 1 else several or plural(one)}"


def plural(noun: str) -> str:
    """ "rows" of "row", "studies" of "study"; of several words the last one's."""
    if noun.endswith("y") and noun[-2:-1] not in VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def either(words: Sequence[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    return _joined(words, "or")


def together(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return _joined(words, "and")


def _joined(words: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def in_bytes(size: int) -> str:
    """ "512 bytes", "303 kB", "4.2 MB"."""
    if size < 1000:
        return counted(size, "byte")
    return f"{size / 1000:,.0f} kB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
