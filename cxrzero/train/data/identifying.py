"""Which of a source's texts probably name or number a patient: for a warning, before anything is learned from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from cxrzero.display.counts import counted
from cxrzero.prompts.mentions import listed_words
from cxrzero.train.data.reports.identifiers import WORD, capitalised, kinds_of

FEW: Final = 5  # texts; a word with a capital that more of them have is a term
# Part of all words inside sentences from which capitals say nothing of names: German, or titles Written So.
CASELESS: Final = 0.2


def identifying(texts: Sequence[str]) -> dict[str, list[int]]:
    """Kind (names, dates, record numbers, contacts) → the texts that probably have such, by their places."""
    names = _rare_names(texts)
    found: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        kinds = dict.fromkeys([*(["names"] if names & capitalised(text) else []), *kinds_of(text)])
        for kind in kinds:
            found.setdefault(kind, []).append(place)
    return found


def warning_of(texts: Sequence[str]) -> str | None:
    """What is to be said before a training, in one line; None where there is nothing."""
    found = [f"{counted(len(places), 'text')} with {kind}" for kind, places in identifying(texts).items()]
    if not found:
        return None
    return (
        f"Some texts probably identify patients: {', '.join(found)}. --check says where. Such words are kept out of "
        "the bundle's labels and vocabulary, but weights can memorise them."
    )


def _rare_names(texts: Sequence[str]) -> set[str]:
    """Words that few texts have, never in small letters: names that no title marks, and rare eponyms."""
    inside = [capitalised(text) for text in texts]
    small = {word for text in texts for word in WORD.findall(text) if word == word.lower()}
    counts = Counter(word for words in inside for word in words)
    if sum(counts.values()) > CASELESS * sum(len(WORD.findall(text)) for text in texts):
        return set()
    public = small | listed_words()
    return {word for word, count in counts.items() if count < FEW and word.lower() not in public}
