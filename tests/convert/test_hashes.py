"""An import says which hashes it saw, and whether they are the published ones."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from cxrzero.cards.card import load_card
from cxrzero.convert.importer import _hash_lines


def test_what_was_read_is_compared_with_what_the_card_states():
    card = load_card("chexzero")
    file = card.files[0]
    seen = {file.name: str(file.sha256), "mine.pt": "ab"}
    assert _hash_lines(card, seen) == [
        f"sha256 of {file.name}: {file.sha256} (as published)",
        "sha256 of mine.pt: ab (unverified: no published hash is known)",
    ]
    (line,) = _hash_lines(card, {file.name: "ab"})
    assert line == f"sha256 of {file.name}: ab (NOT the published file, which has {file.sha256})"
    assert _hash_lines(None, {"mine.pt": "ab"}) == ["sha256 of mine.pt: ab (unverified: no published hash is known)"]
    clear = load_card("clear")
    assert "(unverified: no published hash is known)" in _hash_lines(clear, {clear.files[0].name: "ab"})[0]
