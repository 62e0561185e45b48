"""Which words a tokenizer may learn from reports: those that many patients' texts share and that name nobody.

Every piece of a learned vocabulary, and every merge that leads to it, is part of a word that was learned from. So a
surname, a date or a number of a record is kept out of tokenizer.json by not being learned from: it is written in
smaller pieces, at worst in bytes, and nothing of it stands in the file.

A word is learned if it is letters only, and

    it is one of the built-in prompt bank's, which anybody may read; or
    it is written in small letters in the texts of at least MIN_PATIENTS patients (of MIN_IMAGES images where some
    patient is unknown; of MIN_IMAGES lines of --tokenizer-texts), and most texts that have it do not have it as a name;
    a word that radiology's English does not have (`cxrzero.prompts.english`) needs UNLISTED times as many, and
    UNLISTED_SHARE of all: surnames are typed in small letters, too, and some are of several patients.

Small letters, because names have a capital (texts all in capitals have no other, and count where they are the most).
So languages that write every noun with a capital learn their other words only. E-mail addresses teach no word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cxrzero.maths import Ints
from cxrzero.prompts.english import is_english
from cxrzero.prompts.mentions import listed_words
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.reports.identifiers import WORD, marked_names, without_mail

MIN_PATIENTS: Final = 5
MIN_IMAGES: Final = 25  # a patient may have many, and the same name in the texts of all of them
UNLISTED: Final = 5
UNLISTED_SHARE: Final = 0.01  # the most frequent surnames of a country are of about one in a hundred
NAMED: Final = 0.5  # part of a word's texts that have it as a name, from which it counts as one


@dataclass(frozen=True)
class LearnableWords:
    """The words that may be learned.

    Attributes:
        words: in small letters.
        unit: what was counted.
        at_least: so many of these have each word, but for the bank's; UNLISTED times as many each that is not English.
        left_out: how many different words the texts have besides.
    """

    words: frozenset[str]
    unit: Literal["patients", "images"]
    at_least: int
    left_out: int

    def to_dict(self) -> dict[str, str | int]:
        """What the bundle says of it: how words were chosen, not which."""
        return {
            "words_of_at_least": f"{self.at_least} {self.unit}",
            "learned": len(self.words),
            "left_out": self.left_out,
        }


def learnable_words(pairs: Pairs, more: Sequence[str] = ()) -> LearnableWords:
    """Count the words of all texts.

    Args:
        more: lines of a text file; nobody knows whose.
    """
    known = all(pairs.patients)
    unit: Literal["patients", "images"] = "patients" if known else "images"
    at_least = MIN_PATIENTS if known else MIN_IMAGES
    texts = [*pairs.texts, *more]
    shouted = 2 * sum(map(_is_shouted, texts)) > len(texts)
    written = [_plain_words(text, shouted) for text in texts]
    frequent = _frequent(written, pairs.true_texts, pairs.patients if known else pairs.images, at_least)
    frequent |= _frequent(written[len(pairs.texts) :], [], [], MIN_IMAGES)
    occurring = Counter(word for text in texts for word in _words(text))
    named = Counter(word for text in texts for word in marked_names(text))
    names = {word for word, count in named.items() if count >= NAMED * occurring[word]}
    words = ((frequent - names) | listed_words()) & occurring.keys()
    return LearnableWords(frozenset(words), unit, at_least, len(occurring) - len(words))


def _frequent(
    written: Sequence[set[str]], true_texts: Sequence[Ints], owners: Sequence[str], at_least: int
) -> set[str]:
    """Words that so many different owners' texts have; without owners every text is its own."""
    owned: Iterable[tuple[str, Iterable[set[str]]]]
    if owners:
        owned = ((owner, (written[i] for i in true)) for owner, true in zip(owners, true_texts, strict=True))
    else:
        owned = ((str(number), [words]) for number, words in enumerate(written))
    everybody = len(set(owners) or written)
    unlisted = max(UNLISTED * at_least, math.ceil(UNLISTED_SHARE * everybody))
    seen: dict[str, set[str]] = {}
    for owner, texts in owned:
        for words in texts:
            for word in words:
                having = seen.setdefault(word, set())
                if len(having) < unlisted:
                    having.add(owner)
    return {word for word, having in seen.items() if len(having) >= (at_least if is_english(word) else unlisted)}


def _words(text: str) -> Iterator[str]:
    """The different words in small letters."""
    yield from {word.lower() for word in WORD.findall(text)}


def _plain_words(text: str, shouted: bool) -> set[str]:
    """The words that are written in small letters, or in capitals where nothing is written otherwise."""
    text = without_mail(text)
    if shouted and _is_shouted(text):
        return set(_words(text))
    return {word for word in WORD.findall(text) if word == word.lower()}


def _is_shouted(text: str) -> bool:
    return text == text.upper() != text.lower()
