"""Sentences of a report section: numbered lists taken apart; decimals and abbreviations left whole."""

from __future__ import annotations

import re
from typing import Final

# Not the end of a sentence, whatever follows.
ABBREVIATIONS: Final = frozenset(
    ("dr", "drs", "mr", "mrs", "ms", "prof", "st", "vs", "approx", "resp", "incl", "e.g", "i.e", "eg", "ie", "cf", "no")
) | {"fig", "figs", "nos", "a.m", "p.m", "ca", "max", "min", "dept", "ext", "int", "lt", "rt", "bilat", "inc", "ln"}
# The end of one only if a capital letter follows.
UNITS: Final = frozenset(
    ("cm", "mm", "m", "ml", "cc", "kg", "mg", "in", "ft", "yr", "yrs", "hr", "hrs", "wk", "wks", "etc")
)

_END: Final = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|(?<=[a-z)])\.(?=[A-Z][a-z])")
_LAST_WORD: Final = re.compile(r"[A-Za-z.]+$")
_ITEM: Final = re.compile(r"(?<!\w)(?<!\d\.)(\d{1,2})[.)](?=\s|$|[A-Z])")
_BULLET: Final = re.compile(r"^[ \t]*[-•*·]+[ \t]+", re.MULTILINE)
# What a list begins after: nothing, the end of a sentence or line, a heading ("Chest:", "Left knee").
_BEFORE_LIST: Final = re.compile(r"(?:^|[.:;!?\n])\s*(?:[A-Z][A-Za-z ]{0,20})?$")
_LOOK_BACK: Final = 32  # more than a heading: a piece cut off at its front cannot pass for the start of the text


def split_sentences(text: str) -> list[str]:
    """Sentences in order, white space collapsed, list numbers and bullets removed, none empty."""
    parts = [part for item in _items(_BULLET.sub("\n\n", text)) for part in re.split(r"\n[ \t]*\n", item)]
    sentences = [sentence for part in parts for sentence in _sentences(" ".join(part.split()))]
    return [sentence for sentence in sentences if re.search(r"\w", sentence)]


def _items(text: str) -> list[str]:
    """Cut "1. ... 2. ..." at its numbers: only at those that count on, so that "rib 8. Heart" stays whole."""
    items, begin, expected, written = [], 0, 1, len(text.rstrip())
    for match in _ITEM.finditer(text):
        number = int(match[1])
        starts_list = (
            number == 1
            and match.end() < written
            and _BEFORE_LIST.search(text[max(0, match.start() - _LOOK_BACK) : match.start()])
        )
        if starts_list or (number == expected and number > 1):
            items.append(text[begin : match.start()])
            begin, expected = match.end(), number + 1
    return [*items, text[begin:]]


def _sentences(text: str) -> list[str]:
    sentences, begin = [], 0
    for match in _END.finditer(text):
        if _is_end(text, match):
            sentences.append(text[begin : match.end()].strip())
            begin = match.end()
    return [sentence for sentence in (*sentences, text[begin:].strip()) if sentence]


def _is_end(text: str, match: re.Match[str]) -> bool:
    if match[0][0] != ".":
        return True
    found = _LAST_WORD.search(text[max(0, match.start() - 12) : match.start()])
    word = found[0].casefold() if found else ""
    following = text[match.end() :].lstrip()[:1]
    if not following:
        return True
    # One capital letter before the full stop is an initial ("J. Smith").
    if word in ABBREVIATIONS or (found and len(found[0]) == 1 and found[0].isupper()):
        return False
    return not (word in UNITS and following.islower())
