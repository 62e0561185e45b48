"""Image-text retrieval on held-out pairs: how often the right text is near the top for an image, and the reverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrzero.train.data.pairs import LIKELY, Pairs
from cxrzero.train.data.truth import text_classes, truth_matrix

DEPTHS = (1, 5)
MAX_IMAGES = 2000  # images; recall depends on how many there are, so the number is fixed and written beside it


@dataclass(frozen=True)
class HeldOut:
    """The held-out pairs that are searched.

    Attributes:
        images: (N,) indices into `Pairs.images`.
        texts: (T,) indices into `Pairs.texts`.
        truth: (N, T) bool.
    """

    images: npt.NDArray[np.int64]
    texts: npt.NDArray[np.int64]
    truth: npt.NDArray[np.bool_]


def find_held_out(pairs: Pairs) -> HeldOut | None:
    """The first MAX_IMAGES validation images of which something is true, and the first such text of each.

    None with fewer than two different texts.
    """
    images = [int(i) for i in np.flatnonzero(pairs.validation) if len(pairs.true_of(int(i)))][:MAX_IMAGES]
    if not images:
        return None
    classes = text_classes(pairs.texts)
    texts = np.unique([pairs.true_of(i)[0] for i in images])
    texts = texts[np.unique(classes[texts], return_index=True)[1]]
    if len(texts) < 2:
        return None
    rows = np.array(images, np.int64)
    truth = truth_matrix(rows, texts, pairs.true_texts, pairs.truths, classes)
    return HeldOut(rows, texts, truth >= LIKELY)


def recall(cosines: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> dict[str, float]:
    """R@k in both directions: the share of queries with a true answer among the k nearest.

    Args:
        cosines: (N, T) of images and texts.
    """
    found = {}
    for name, scores, answers in (("image_to_text", cosines, truth), ("text_to_image", cosines.T, truth.T)):
        hits = np.take_along_axis(answers, nearest(scores, DEPTHS[-1]), axis=1)
        for depth in DEPTHS:
            found[f"{name}_r{depth}"] = float(hits[:, :depth].any(axis=1).mean())
    return found


def nearest(scores: npt.NDArray[np.floating], depth: int) -> npt.NDArray[np.int64]:
    """(Q, depth) places of the largest of each row, the first of equal ones first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :depth]
