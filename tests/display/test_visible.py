"""Every character that a terminal obeys, a page reorders or nobody sees has a form; all others stay."""

from __future__ import annotations

import os
import sys
import unicodedata

import pytest

from cxrzero.display.page import escape
from cxrzero.display.visible import MARKS, visible
from tests.support.hostile import HOSTILE, SHOWN, raw

# Bidirectional controls (Unicode Standard Annex 9), separators, what has no width, and a lone surrogate.
NAMED = (
    "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    "\u200b\u200c\u200d\u2060\ufeff\ud800"
)


def test_a_hostile_name() -> None:
    assert visible(HOSTILE) == SHOWN
    assert raw(SHOWN) == []


def test_planes_of_unicode_that_hold_scripts_signs_and_tags() -> None:
    for char in map(chr, (*range(0x20000), *range(0xE0000, 0xE0100))):
        category = unicodedata.category(char)
        if category in ("Cc", "Cf", "Zl", "Zp", "Co", "Cn") or (category == "Cs" and not "\udc80" <= char <= "\udcff"):
            assert visible(char) == repr(char)[1:-1]
        elif category[0] in "LNPS" and char.isprintable() and char not in "\u115f\u1160\u3164\uffa0":
            assert visible(char) == char, hex(ord(char))


@pytest.mark.parametrize("char", NAMED)
def test_named_ones(char: str) -> None:
    assert visible(f"a{char}b") == f"a\\u{ord(char):04x}b"


@pytest.mark.parametrize(
    "text", ["", "a b", "große Lunge", "胸部　正面", "e\u0301", "10\u00a0mm", "C:\\films\\a.dcm", "صدر", "🩻"]
)
def test_letters_accents_and_spaces_stay(text: str) -> None:
    assert visible(text) == text


def test_accents_do_not_pile_up_over_other_lines() -> None:
    """Hebrew with vowels and cantillation, Tibetan and decomposed Vietnamese have four marks on a letter and stay."""
    for text in (
        "\u05d1\u05bc\u05b0\u05bd\u0591",
        "\u0f66\u0f90\u0fb2\u0f71\u0f74",
        "e\u0323\u0302\u0301",
        "e" + "\u0300" * MARKS,
    ):
        assert visible(text) == text
    flood = "z" + "\u0300" * 60 + "a\u0301"
    assert visible(flood) == "z" + "\u0300" * MARKS + "\\u0300" * (60 - MARKS) + "a\u0301"
    assert visible("z" + "\u20dd" * 9) == "z" + "\u20dd" * MARKS + "\\u20dd"


def test_letters_and_marks_that_show_nothing() -> None:
    assert visible("a\u034f\u115f\u3164\ufe0f\U000e0100") == r"a\u034f\u115f\u3164\ufe0f\U000e0100"


@pytest.mark.skipif(sys.platform == "win32", reason="names are Unicode there")
def test_a_byte_of_a_file_name_that_is_not_utf_8() -> None:
    assert visible(os.fsdecode(b"a\xff\x9b.dcm")) == r"a\xff\x9b.dcm"


def test_a_page_is_told_no_markup_either() -> None:
    assert escape(f"<b>{HOSTILE}&") == f"&lt;b&gt;{SHOWN}&amp;"
