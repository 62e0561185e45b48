"""Whether a word is one that an English text tower can know: of radiology's vocabulary, or made of its parts."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from cxrzero.display.letters import without_accents
from cxrzero.prompts.bank import built_in_bank

# Letters with what joins them in a word; "PleuralThickening" is two words, as data sets write labels.
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z]{2})")

# A form's ending, and what stands there in the word itself.
FORMS = (("ies", "y"), ("ses", "sis"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
         ("ly", ""), ("ally", ""), ("ae", "a"), ("ness", ""), ("like", ""), ("es", "is"))  # fmt: skip
BRITISH = (("oe", "e"), ("ae", "e"), ("our", "or"), ("isation", "ization"), ("ised", "ized"), ("ising", "izing"))
SHORTEST_STEM = 4
SHORTEST_WORD = 3


def words_of(text: str) -> list[str]:
    """The words of a sentence; numbers are none."""
    return _WORD.findall(_CAMEL.sub(" ", unicodedata.normalize("NFC", text).replace("’", "'")))


def plain(word: str) -> str:
    """Take case and accents off."""
    return without_accents(word.casefold())


def is_english(word: str) -> bool:
    """Whether the vocabulary has a word, an ending of it, or its parts; in a word of one or two letters nothing is."""
    word = plain(word).removesuffix("'s")
    return len(word) < SHORTEST_WORD or _is_known(word)


@functools.lru_cache(maxsize=4096)
def _is_known(word: str) -> bool:
    return (
        word in _sections()["fronts"]
        or any(stem in vocabulary() for stem in _stems(word))
        or any(word[:at] in _sections()["fronts"] and _is_part(word[at:]) for at in range(2, len(word)))
    )


def _is_part(rest: str) -> bool:
    """What may follow a front."""
    return rest in _sections()["endings"] or (len(rest) >= SHORTEST_STEM and _is_known(rest))


def _stems(word: str) -> list[str]:
    """A word, and what it may be a form of."""
    stems = [word]
    for ending, instead in FORMS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            stems.append(word[: len(word) - len(ending)] + instead)
    return stems + [word.replace(british, american) for british, american in BRITISH if british in word]


@functools.cache
def vocabulary() -> frozenset[str]:
    """The words that come with the package, and those of the built-in bank."""
    bank = built_in_bank().entries.values()
    texts = [text for each in bank for text in (each.name, *each.synonyms, *each.positive, *each.negative)]
    return _sections()["words"] | {plain(word) for text in texts for word in words_of(text)}


@functools.cache
def _sections() -> Mapping[str, frozenset[str]]:
    return {
        name: frozenset(plain(word) for line in lines for word in words_of(line))
        for name, lines in sections(Path(__file__).with_name("vocabulary.txt")).items()
    }


def sections(path: Path) -> Mapping[str, list[str]]:
    """The lines below each [name] of a file of this package; blank lines and comments (#) are none."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = found.setdefault(line.strip("[]"), [])
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return found
