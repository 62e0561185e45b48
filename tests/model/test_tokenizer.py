"""Prompts of a fixed number of sentences."""

from pathlib import Path

import pytest

from cxrzero.errors import TokenizerError
from cxrzero.model.tokenizer import Tokenizer


def test_a_prompt_has_as_many_sentences_as_the_model_reads(tiny_bundle: Path) -> None:
    path = tiny_bundle / "tokenizer.json"
    assert Tokenizer(path, 32, 0, sentences=3)(["one [SEP] two [SEP] three"]).shape == (1, 32)
    assert Tokenizer(path, 32, 0)(["one [SEP] two"]).shape == (1, 32)
    for prompt, found in (("one [SEP] two", "2 sentences"), ("one", "1 sentence"), ("a [SEP] [SEP] b", "2 sentences")):
        with pytest.raises(TokenizerError, match=rf"has {found}, and this model is asked for a finding by 3, with"):
            Tokenizer(path, 32, 0, sentences=3)([prompt])
