"""Words and numbers of a text by which a patient could be told: probable names, dates, numbers of records, contacts.

A heuristic: it finds what is marked (a title before a name, an initial, a form) and misses what is not. It warns, and
it keeps names out of a vocabulary (`cxrzero.train.data.words`); it takes nothing out of a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

WORD: Final = re.compile(r"[^\W\d_]+")
_TITLE: Final = (
    r"mrs?|(?-i:[Mm]s)|miss|mister|mx|drs?|doctors?|prof|professor|herrn?|frau|fräulein|mme|mlle|monsieur|madame|señora?|señorita"
    r"|signora?|sra?|dra|dott|dottoressa|senhora?|mevrouw|meneer|dhr|mevr"
)
_SIGNED: Final = r"(?:signed|dictated|transcribed|read|reviewed|reported|verified|approved|referred|seen|requested) by"
_FIELD: Final = r"(?:patient(?:'s)? name|last name|first name|family name|given name|surname|forename|name|née|nee)"
_INITIALS: Final = r"(?:[A-Za-zÀ-ÖØ-öø-ÿ]\.[ -]?){0,3}"
# "Mrs. van der X-Y", "DR X", "name: X, Y"; the words that follow, not what makes them known.
_MARKED: Final = re.compile(
    rf"\b(?:(?:{_TITLE})\b\.?|{_SIGNED}:?|{_FIELD}\b\s*[:=]?)\s+(?:(?:{_TITLE})\b\.?\s+)*{_INITIALS}"
    r"(?P<name>[^\W\d_]+(?:[ '’-][^\W\d_]+){0,3})",
    re.IGNORECASE,
)
# "J. Smith", "Smith, J.", "Smith MD"; and a capitalised word after who it is.
_SHAPED: Final = re.compile(
    r"\b(?:[^\W\d_]\. ?(?P<a>[^\W\d_a-z][^\W\d_]+)"
    r"|(?P<b>[^\W\d_a-z][^\W\d_]+),? (?:M\.?D\b|FRCR|Ph\.?D\b|R\.?N\b|D\.O\.)"
    r"|(?:[Pp]atient|[Pp]at\.|[Pp]t\.?|[Nn]urse|[Rr]adiologist|[Pp]hysician|[Rr]esident|[Aa]ttending):? "
    r"(?P<c>[^\W\d_a-z][^\W\d_]+))"
)
_MONTH: Final = r"(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zé]*\.?"
_DATE: Final = re.compile(
    r"(?<!\d)(?:\d{1,2}([./-])\d{1,2}\1\d{2,4}|\d{4}([./-])\d{1,2}\2\d{1,2}|(?:19|20)\d\d(?!\d))(?!\d)"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\.? (?:of )?{_MONTH},? \d{{2,4}}\b|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"
    r"|\b(?:d\.?o\.?b|born|geb(?:oren)?|née? le|nacid[oa])\b\.?:? ?\d",
    re.IGNORECASE,
)
# Five digits and more; groups of digits; letters and digits mixed as no measure is; a number that says so.
_NUMBER: Final = re.compile(
    r"\d{5,}|\d{2,}(?:-\d{2,}){2,}|\b(?=[a-z]*\d[a-z\d]*[a-z])(?=(?:[a-z]*\d){3})[a-z\d]{5,}\b"
    r"|\b(?:mrn|accession|acc|case|record|patient id|pid|id|ssn|nhs)\b[ #:.no]*[a-z]{0,4}\d",
    re.IGNORECASE,
)
_CONTACT: Final = re.compile(
    r"[\w.+-]+@[\w-]+\.\w+|https?://|\bwww\.|(?<!\w)\+?(?:\(?\d{2,5}\)?[ /-]){1,4}\d{3,}(?!\w)"
    r"|\b(?:phone|tel|fax|pager|ext|call|x)\b\.?:? ?\+?\d{3}",
    re.IGNORECASE,
)
_MAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
_INSIDE: Final = re.compile(r"(?:(?<=[^\W_] )|(?<=, )|(?<=[(\"']))[^\W\d_a-z](?=[^\W\d_A-Z]{2})[^\W\d_]+")


def kinds_of(text: str) -> list[str]:
    """What of "names", "dates", "record numbers" and "contacts" a text probably has."""
    found = ["names"] if next(_names(text, everywhere=True), None) else []
    undated = _DATE.sub(" ", text)
    found += ["dates"] if undated != text else []
    return found + [
        kind for kind, pattern in (("record numbers", _NUMBER), ("contacts", _CONTACT)) if pattern.search(undated)
    ]


def marked_names(text: str) -> set[str]:
    """The words of probable names, in small letters; of a text without capitals the first after a title only."""
    return {word.lower() for word in _names(text, everywhere=False)}


def without_mail(text: str) -> str:
    """The text without e-mail addresses, which are made of names."""
    return _MAIL.sub(" ", text)


def capitalised(text: str) -> set[str]:
    """Words with one capital, in front, where no sentence begins."""
    return set(_INSIDE.findall(text))


def _names(text: str, *, everywhere: bool) -> Iterator[str]:
    """The words that a mark makes a name.

    Args:
        everywhere: also where only its shape makes it one.
    """
    has_case = text != text.lower() and text != text.upper()
    for match in _MARKED.finditer(text):
        words = WORD.findall(match["name"])
        if not has_case or words[0].islower():
            # "mrs x shows ...": where the name ends, no capital says.
            yield from words[:1] if everywhere else words[:2]
            continue
        for word in words:
            if word.islower() and word not in _PARTICLES:
                break
            yield word
    for match in _SHAPED.finditer(text) if has_case else ():
        yield from (word for word in match.groups() if word)


_PARTICLES: Final = frozenset(
    ("van", "von", "der", "den", "de", "da", "di", "du", "la", "le", "el", "al", "bin", "ter")
)
