"""Marks that de-identification left (XXXX, ___, [** **]) taken out so that what stays can be read.

Nothing is guessed back, with one exception: "x-XXXX" can only have been "x-ray".
"""

from __future__ import annotations

import html
import re
from typing import Final

# A sentence with more marks than this share of its words does not say any more what was seen.
MAX_MARKED: Final = 0.34

_M: Final = "\x00"  # stands for a run of marks; cannot occur in a report
_MARK: Final = re.compile(r"\[\*\*[^\]\n]{0,80}\*\*\]|[\d/'-]*(?:X{3,}|_{2,})(?:[XA-Z\d_/'’-]|(?<=['’])s\b)*")
_RUN: Final = re.compile(rf"{_M}(?:[\s/-]*{_M})*")
_XRAY: Final = re.compile(r"\b([xX])-\s?X{3,}")
_DEBRIS: Final = re.compile(r"<br\s*/?>|\[<|>\]|\[&|[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", re.IGNORECASE)

_WORDS: Final = (
    r"(?:the|a|an|prior|previous|most|recent|study|exam|examination|radiographs?|films?|chest|of|from|dated|on)"
)
_TIME: Final = rf"(?:,?\s*(?:at|on)?\s*(?:{_M}|\d{{1,2}}(?::\d\d)?\s*[ap]\.?m\.?))?"
# "In comparison with the study of ___," and its kind.
_COMPARED: Final = re.compile(
    r"(?:\b(?:as|when|in|is|are)\s+)*\bcompar(?:ed|ison)(?:\s+is\s+made)?(?:\s+(?:to|with))?"
    rf"(?:\s+{_WORDS}){{0,8}}\s*{_M}(?:\s*(?:,|and|through|to)\s*{_M})*{_TIME}"
    r"(?!\s+(?:is|would|may|could|might))\s*[,:;]?",
    re.IGNORECASE,
)
# A preposition whose object is gone: "dated XXXX", "at ___ hours.", "(XXXX)".
_ORPHAN: Final = re.compile(
    rf"\(\s*{_M}\s*\)"
    rf"|\b(?:dated|from|on|since|of|at|to|per|by|with|in)(?:\s+(?:the|an?))?\s+{_M}(?:\s+hours)?(?=\s*[.,;:)]|\s*$)",
    re.IGNORECASE,
)
# "No XXXX of effusion" denies the effusion; "of the XXXX and spine" still names the spine.
_LINK: Final = re.compile(
    rf"\b(?:(no|any|without|scattered)\s+{_M}\s+of(?:\s+an?)?|(the|of|in|no)\s+{_M}\s+(?:and|or))\s+", re.IGNORECASE
)
# A subject that is gone: "The XXXX are intact."
_NO_SUBJECT: Final = re.compile(
    rf"^(?:(?:the|visualized|visible|remaining|other|no|of|and)\s+)*{_M}\s+"
    r"(?:is|are|was|were|appears?|remains?|have|has|intact|unremarkable|normal|within|grossly|demonstrated|and)\b",
    re.IGNORECASE,
)


def unmark(sentence: str) -> str:
    """The sentence without marks and markup; "" where too little is left to say anything.

    Args:
        sentence: one sentence, white space collapsed.
    """
    text = _DEBRIS.sub(" ", html.unescape(html.unescape(sentence)).replace("\0", " "))
    text = _XRAY.sub(r"\1-ray", text)
    marked = _RUN.sub(_M, _MARK.sub(_M, text))
    if _M not in marked:
        return _tidy(marked)
    if _NO_SUBJECT.search(marked):
        return ""
    marked = _COMPARED.sub(" ", marked)
    words = re.findall(rf"{_M}|\w[\w'-]*", marked)
    if words.count(_M) > MAX_MARKED * len(words):
        return ""
    marked = _ORPHAN.sub(" ", marked)
    marked = _LINK.sub(lambda match: f"{match[1] or match[2]} ", marked)
    tidy = _tidy(marked.replace(_M, " "))
    return tidy[:1].upper() + tidy[1:] if any(letter.isalpha() for letter in tidy) else ""


def has_words(text: str) -> bool:
    """Whether there is a letter besides marks."""
    return any(letter.isalpha() for letter in _MARK.sub(" ", text))


def _tidy(text: str) -> str:
    """Spaces and signs as in prose."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([.,;:!?)\]])", r"\1", text)
    text = re.sub(r"([(\[])\s+|[(\[]\s*[)\]]", r"\1", text)
    text = re.sub(r"[,;:](?=[.,;:])|(?<=\.)\.+", "", text)
    return text.strip(" ,;:-–/").lstrip(".")
