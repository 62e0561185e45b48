"""Which findings of the built-in bank a text speaks of, by the bank's own names: none of the text's words goes on."""

from __future__ import annotations

import functools
import re

from cxrzero.prompts.bank import NORMAL, built_in_bank, key_of


@functools.cache
def listed_names() -> dict[str, tuple[str, str]]:
    """Every name of the bank as `key_of` gives it → (its finding, the name as the bank writes it)."""
    entries = dict.fromkeys(built_in_bank().entries.values())
    return {key_of(name): (entry.name, name) for entry in entries for name in (entry.name, *entry.synonyms)}


@functools.cache
def listed_words() -> frozenset[str]:
    """Every word of the bank, in small letters: what anybody may read, whoever's reports have it too."""
    entries = built_in_bank().entries.values()
    texts = (text for each in entries for text in (each.name, *each.synonyms, *each.positive, *each.negative))
    return frozenset(word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower()))


def mentioned(text: str) -> dict[str, str]:
    """Finding → the listed name by which the text speaks of it, affirmed or denied; the longest name counts.

    "normal" speaks of a part ("normal heart size"), so that there is no finding has to be all that a text says.
    """
    key, listed = key_of(text), listed_names()
    if key in listed:
        return dict([listed[key]])
    found = (listed[match[0]] for match in _any_name().finditer(key))
    return {finding: name for finding, name in found if key_of(finding) != NORMAL}


@functools.cache
def _any_name() -> re.Pattern[str]:
    longest_first = sorted(listed_names(), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")
