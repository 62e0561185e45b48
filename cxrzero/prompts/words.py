"""The words of a question, looked at before it is asked: is it negated, is it English, are its words words at all?

The text tower answers whatever it is asked, a misspelt word too, and nothing in the numbers shows it.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Sequence

from cxrzero.prompts.bank import NORMAL, built_in_bank, key_of
from cxrzero.prompts.english import SHORTEST_WORD, is_english, plain, vocabulary, words_of
from cxrzero.prompts.foreign import find_foreign
from cxrzero.prompts.labels import SEPARATORS

# A word → what the tokenizer takes it apart into; none where it has a letter that the tokenizer does not know.
Pieces = Callable[[str], Sequence[str]]

NEGATED = re.compile(
    r"^(?:there (?:is|are|was|were) )?(?:no (?:radiographic |radiological )?(?:evidence|signs?) of|no longer|no|not"
    r"|without|w/o|w/out|never|neither|minus|absence of|absent|lack of|lack(?:s|ing)|free (?:of|from)|negative for"
    r"|den(?:y|ies|ied|ying)|can(?:not|'t) see|(?:has|have|is|are|was|were|does|do)(?: not|n't)(?: have| show)?"
    r"|rule[sd]? out|r/o|exclud(?:e[sd]?|ing)|clear of)\b[\s:]+(?:any\b\s*)?(?P<finding>.+)$"
    r"|^(?P<before>.+?)(?:\s+(?:is|are|was|were))?\W+(?:absent|ruled out|excluded|negative|no|none"
    r"|not (?:present|seen))\W*$",
    re.IGNORECASE,
)
# What a label may deny that is no finding but any: "no acute cardiopulmonary process".
ANYTHING = re.compile(
    r"(?:(?:acute|active|significant|focal|cardiac|pulmonary|cardiopulmonary|intrathoracic|thoracic|chest|lung|disease"
    r"|process|findings?|abnormalit(?:y|ies)|pathology|or|and|radiographic|evidence|of)\b\s*)+",
    re.IGNORECASE,
)
# Not "/": data sets have labels such as "Nodule/Mass".
BETWEEN = re.compile(rf"\s*[{SEPARATORS}]\s*")
# A word of six letters and one with two of them exchanged are alike by 0.83, `difflib`'s measure.
ALIKE = 0.8


def denied_in(label: str) -> str | None:
    """The finding that a negated label denies; None where it denies none."""
    match = NEGATED.match(" ".join(label.replace("_", " ").replace("’", "'").split()))
    return None if match is None else str(match["finding"] or match["before"])


def instead_of(denied: str) -> str:
    """What to ask for, where a label denies something."""
    if ANYTHING.fullmatch(denied):
        return f"ask for {built_in_bank().entries[NORMAL].name!r}, which is what this label means"
    return f"ask for {denied!r}: a low probability of it is what this label means"


def several_in(label: str) -> tuple[str, ...]:
    """The findings of a label that is a list of them; none where it is one."""
    parts = tuple(BETWEEN.split(label.strip()))
    known = built_in_bank().entries
    return parts if len(parts) > 1 and all(key_of(part) in known for part in parts) else ()


def foreign_in(text: str) -> str | None:
    """What is to be said of a text that is not English."""
    foreign = find_foreign(text)
    if foreign is None:
        return None
    languages = " or ".join(foreign.languages) or "no English"
    english = denied_in(foreign.english) or foreign.english
    advice = f"ask for {english!r}" if english else "ask in English"
    return f"{text!r} is {languages}, which the text encoder was not taught; {advice}"


def unknown_in(text: str, pieces: Pieces | None = None) -> str | None:
    """What is to be said of a text with words that are none, as far as the vocabulary and the tokenizer tell."""
    unknown = [word for word in dict.fromkeys(words_of(text)) if not _is_word(word, pieces)]
    if not unknown:
        return None
    meant = {word: _nearest(word) for word in unknown}
    named = " and ".join(map(repr, unknown))
    if all(meant.values()):
        corrected = text
        for word, instead in meant.items():
            corrected = corrected.replace(word, instead)
        return f"{named} {_is_no(unknown)}; did you mean {corrected!r}?"
    return f"{named} {_is_no(unknown)}; check the spelling, or use words that a report would have"


def reads_english(sentences: Sequence[str]) -> bool:
    """Whether what a model states of itself, its templates and labels, is English as far as the table tells."""
    return not any(find_foreign(sentence) for sentence in sentences)


def _is_word(word: str, pieces: Pieces | None) -> bool:
    """A word in the tokenizer's own vocabulary is one: that is learned from texts."""
    return is_english(word) or (
        pieces is not None and len(plain(word)) >= SHORTEST_WORD and len(pieces(word.removesuffix("'s"))) == 1
    )


def _is_no(words: Sequence[str]) -> str:
    return "is no word that is known here" if len(words) == 1 else "are no words that are known here"


def _nearest(word: str) -> str:
    """The known word that is spelt most alike, a finding's first; or nothing."""
    typed = plain(word)
    near = sorted({known for short in _shortened(typed) for known in _by_shortened().get(short, ())})
    for words in (_words_of_findings(), near):
        if found := difflib.get_close_matches(typed, words, n=1, cutoff=ALIKE):
            return found[0]
    return ""


def _shortened(word: str) -> set[str]:
    """A word, and it without each of its letters: two words that share one are two slips of the hand apart at most."""
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


@functools.cache
def _by_shortened() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in vocabulary():
        for short in _shortened(word):
            found.setdefault(short, []).append(word)
    return found


@functools.cache
def _words_of_findings() -> tuple[str, ...]:
    names = (each.name for each in built_in_bank().entries.values())
    return tuple(dict.fromkeys(plain(word) for name in names for word in words_of(name)))
