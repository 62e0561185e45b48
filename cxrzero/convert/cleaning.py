"""Text cleaning that a model's library does in Python, as a normaliser inside tokenizer.json."""

from __future__ import annotations

import re
import string

from tokenizers import Regex, Tokenizer, normalizers

from cxrzero.errors import ImportModelError

_SPACES = (normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip())


def canonical(*, lower: bool = True) -> list[normalizers.Normalizer]:
    """SigLIP's: no punctuation, lower case, single spaces."""
    no_punctuation = normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), "")
    return [no_punctuation, *[normalizers.Lowercase()] * lower, *_SPACES]


# open_clip's names of its cleaning functions (tokenizer.py, get_clean_fn).
CLEANING = {
    "whitespace": _SPACES,
    "lower": (*_SPACES, normalizers.Lowercase()),
    "canonicalize": (normalizers.Replace("_", " "), *canonical()),
}


def with_cleaning(tokenizer: Tokenizer, clean: str) -> Tokenizer:
    """Put open_clip's cleaning before the tokenizer's own normaliser.

    Raises:
        ImportModelError: there is no cleaning of that name.
    """
    if clean not in CLEANING:
        raise ImportModelError(f"the text cleaning {clean!r} is unknown; known are {', '.join(CLEANING)}")
    steps = list(CLEANING[clean])
    if tokenizer.normalizer is not None:
        steps.append(tokenizer.normalizer)
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer
