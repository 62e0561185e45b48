"""Which texts are true of which images, so that a true text is never taken as a negative."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def text_classes(texts: Sequence[str]) -> Ints:
    """(T,) class of each text; texts that differ in case, spacing, punctuation or encoding only share one.

    "No acute disease." and "no acute  disease" say the same, so neither is a negative of the other's image.
    """
    classes: dict[str, int] = {}
    return np.array([classes.setdefault(_folded(text), len(classes)) for text in texts], np.int64)


def truth_matrix(images: Ints, texts: Ints, true_texts: Sequence[Ints], classes: Ints) -> npt.NDArray[np.bool_]:
    """(B, T): whether a text, or one that says the same, is true of an image.

    Args:
        images: (B,) indices into `true_texts`.
        texts: (T,) indices into `classes`.
    """
    asked = classes[texts]
    return np.stack([np.isin(asked, classes[true_texts[i]]) for i in images])


def _folded(text: str) -> str:
    words = re.sub(r"[^\w%+<>/.-]|\.(?!\d)|(?<!\w)-|-(?!\w)", " ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words.split()) or text
