"""What people typed into a header → words that a table knows, whatever the case, the accents and the punctuation.

A header's short strings are written by devices and hands in many languages, and read through many code pages: TÓRAX
arrives as Torax, TÃ“RAX, T?RAX or T�RAX. A word that no table has stays unknown; nothing is guessed from its
likeness, except where a letter was lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Generic, TypeVar

from cxrzero.display.letters import without_accents

Kind = TypeVar("Kind")

# Letters that no accent makes, as they are written without them.
_PLAIN = str.maketrans({"Ł": "L", "Ø": "O", "Đ": "D", "Æ": "AE", "Œ": "OE", "Ð": "D", "Þ": "TH"})
# What a letter becomes on its way through the wrong code page: a question mark, U+FFFD, a control character of
# ISO 6429, or one of Latin-1's signs (Ó of code page 850 is à there, and its ó is ¢).
_LOST = "?\ufffd\x80-\x9f\xa1-\xbf\xd7\xf7"
_WORD = re.compile(rf"[^\W\d_{_LOST}]+(?:[{_LOST}]+[^\W\d_{_LOST}]+)*[?\ufffd]*|[?\ufffd]+[^\W\d_{_LOST}]+")
# A word with lost letters is compared only where so many are left.
_LEAST = 3
# Scripts without blanks between words, in which terms are looked for wherever they stand.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# Longer strings than any header's are not words but something else: PS3.5, 6.2 allows 16 (CS) and 64 (LO).
LONGEST = 128


def mended(text: str) -> str:
    """UTF-8 that was read as Latin-1 or Windows-1252, once or twice, as what was written."""
    for _ in range(2):
        for page in ("latin-1", "cp1252"):
            try:
                text = text.encode(page).decode("utf-8")
                break
            except UnicodeError:
                continue
    return text


def raw_words(text: str) -> list[str]:
    """The words of a string, capital, accents kept; digits, blanks, underscores and punctuation part them."""
    return _WORD.findall(unicodedata.normalize("NFKC", mended(text[:LONGEST])).upper())


def plain(word: str) -> str:
    """A word of capitals without accents."""
    return without_accents(word.translate(_PLAIN))


class Vocabulary(Generic[Kind]):
    """Words by what they mean.

    Args:
        table: meaning → words, parted by blanks, with their accents. Of a word with Ä, Ö, Ü or Å the spelling with E
            or AA is known too. Under two meanings the first one holds.
        stems: meaning → beginnings or middles of words that are known by them when the whole word is not.
    """

    def __init__(self, table: Mapping[Kind, str], stems: Mapping[Kind, str] | None = None) -> None:
        self._kinds: dict[str, Kind] = {}
        for kind, words in table.items():
            for word in words.upper().split():
                for spelling in (plain(word), plain(word.translate(_EXPANDED))):
                    self._kinds.setdefault(spelling, kind)
        self._stems = [(stem, kind) for kind, words in (stems or {}).items() for stem in words.split()]
        # A single character is also part of other words: 手 is a hand, 手术 an operation.
        unspaced = sorted((word for word in self._kinds if _UNSPACED.match(word) and len(word) > 1), key=len)[::-1]
        self._unspaced = re.compile("|".join(map(re.escape, unspaced)) or "(?!)")

    def kinds(self, text: str) -> list[Kind | None]:
        """What each word of a string means, in order; None for one that is not known."""
        return [kind for word in raw_words(text) for kind in self._of(word)]

    def _of(self, word: str) -> Iterator[Kind | None]:
        letters = plain(word)
        legible = letters.rstrip("?\ufffd")
        known = self._kinds.get(legible) or self._kinds.get(legible.removesuffix("S"))  # one, or several of them
        if known is not None:
            yield known
        elif _UNSPACED.search(letters):
            yield from map(self._kinds.get, self._unspaced.findall(letters) or [letters])
        elif parts := self._parts(legible):
            yield from parts
        elif stem := next((kind for stem, kind in self._stems if stem in legible), None):
            yield stem
        else:
            yield self._with_lost_letters(word)

    def _parts(self, word: str) -> list[Kind]:
        """What words written without a blank mean, as NECKCHEST does; [] unless known words make all of it."""

        @cache
        def after(start: int) -> tuple[Kind, ...] | None:
            if start == len(word):
                return ()
            for end in range(len(word), start + 1, -1):  # at least two letters
                kind = self._kinds.get(word[start:end])
                if kind is not None and (rest := after(end)) is not None:
                    return (kind, *rest)
            return None

        return list(after(0) or ())

    def _with_lost_letters(self, word: str) -> Kind | None:
        """The meaning of a word of which letters were lost or changed; the first in the table's order, or None."""
        known = "".join(letter if "A" <= letter <= "Z" else " " for letter in word)
        if known.isalpha() or sum(map(str.isalpha, known)) < _LEAST:
            return None
        pattern = re.compile(re.sub(" +", ".{0,2}", known))
        return next((kind for spelling, kind in self._kinds.items() if pattern.fullmatch(spelling)), None)


_EXPANDED = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "Å": "AA"})
