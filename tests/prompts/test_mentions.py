"""Which listed findings a text speaks of."""

from __future__ import annotations

import pytest

from cxrzero.prompts.mentions import listed_words, mentioned


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mrs X, born 1950, shows a right effusion and a mass.", {"pleural effusion": "effusion", "mass": "mass"}),
        ("No Effusion", {"pleural effusion": "effusion"}),
        ("hiatal hernia", {"hernia": "hiatal hernia"}),
        ("Pleural_Thickening", {"pleural thickening": "pleural thickening"}),
        ("loculated pleural effusion", {"loculated pleural effusion": "loculated pleural effusion"}),
        ("amassed nodules", {"multiple nodules": "nodules"}),  # whole words only
        ("normal heart size", {}),
        ("Normal.", {"no finding": "normal"}),
        ("Mrs X was seen", {}),
        ("", {}),
    ],
)
def test_a_text_speaks_of_findings_by_the_bank_s_names(text, found):
    assert mentioned(text) == found


def test_words_of_the_bank_are_in_small_letters():
    assert {"pleural", "effusion", "no", "costophrenic"} <= listed_words()
    assert all(word.isalpha() and word == word.lower() for word in listed_words())
