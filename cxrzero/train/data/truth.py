"""Which texts are true of which images, so that a true text is never taken as a negative."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from cxrzero.maths import Float32s, Ints


def text_classes(texts: Sequence[str]) -> Ints:
    """(T,) class of each text; texts that differ in case, spacing, punctuation or encoding only share one.

    "No acute disease." and "no acute  disease" say the same, so neither is a negative of the other's image.
    """
    classes: dict[str, int] = {}
    return np.array([classes.setdefault(_folded(text), len(classes)) for text in texts], np.int64)


def truth_matrix(
    images: Ints, texts: Ints, true_texts: Sequence[Ints], truths: Sequence[Float32s], classes: Ints
) -> Float32s:
    """(B, T) float32: how true a text, or one that says the same, is of an image; 0 where nothing says so.

    Args:
        images: (B,) indices into `true_texts` and `truths`.
        texts: (T,) indices into `classes`.
    """
    asked = classes[texts]
    matrix = np.zeros((len(images), len(texts)), np.float32)
    for row, image in enumerate(images):
        said = classes[true_texts[image]]
        order = np.argsort(said, kind="stable")
        place = np.minimum(np.searchsorted(said, asked, sorter=order), len(said) - 1)
        found = order[place]
        matrix[row] = np.where(said[found] == asked, truths[image][found], 0)
    return matrix


def _folded(text: str) -> str:
    words = re.sub(r"[^\w%+<>/.-]|\.(?!\d)|(?<!\w)-|-(?!\w)", " ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words.split()) or text
