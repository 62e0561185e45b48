"""Findings by their names in other languages, for advice to whoever asks an English model in one of them."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrzero.prompts.english import is_english, plain, sections, words_of


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is known of a foreign text.

    Attributes:
        languages: in which it says so; a script's name where only that is known; empty where letters alone tell.
        english: what it is in English, or "".
    """

    languages: tuple[str, ...]
    english: str = ""


def find_foreign(text: str) -> Foreign | None:
    """Whether a text is of another language than English, as far as a small table and its letters tell."""
    words = words_of(text)
    whole = _look_up(" ".join(words))
    if whole is not None:
        return whole
    known = [_look_up(word) or _by_letters(word) for word in words]
    found = [each for each in known if each is not None]
    if not found:
        return None
    languages = tuple(dict.fromkeys(name for each in found for name in each.languages))
    common = tuple(name for name in languages if all(name in each.languages for each in found if each.languages))
    # A word that neither list has is not taken over: its English is not known.
    english = [each.english if each else word * is_english(word) for word, each in zip(words, known, strict=True)]
    return Foreign(common or languages, " ".join(english) if all(english) else "")


def _look_up(text: str) -> Foreign | None:
    """A word or phrase of the table; without its accents only where it is no English then."""
    exact = _table().get(text.lower())
    if exact is not None or all(is_english(word) for word in words_of(text)):
        return exact
    return _unaccented().get(plain(text))


def _by_letters(word: str) -> Foreign | None:
    if word.isascii() or is_english(word):
        return None
    script = unicodedata.name(word[0], "").split()[0].removesuffix("-COMPATIBILITY").capitalize()
    return Foreign(() if script == "Latin" else ("Chinese or Japanese" if script == "Cjk" else script,))


@functools.cache
def _table() -> Mapping[str, Foreign]:
    """Words and phrases, in lower case, as `words_of` parts them."""
    found: dict[str, Foreign] = {}
    for language, lines in sections(Path(__file__).with_name("foreign.txt")).items():
        for name, english in (line.split(" = ") for line in lines):
            key = " ".join(words_of(name)).lower()
            before = found.get(key, Foreign((), english))
            found[key] = Foreign((*before.languages, language), before.english)
    return found


@functools.cache
def _unaccented() -> Mapping[str, Foreign]:
    return {plain(name): foreign for name, foreign in _table().items()}
