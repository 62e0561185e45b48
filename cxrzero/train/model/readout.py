"""A projection fitted in closed form, by which an image is as near to a text as the text is true of it.

Ridge regression on both sides (Romera-Paredes and Torr, ICML 2015, equation 3): of features x with embeddings t of
texts, A minimises Σ w ω (xᵀ A t − y)², with y how true the text is of the image, w how often the image counts and ω the
text. It starts from what the projection has learned, and adds what that has missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxrzero.maths import Ints
from cxrzero.train.model.erase import Floats

# Strengths of the ridges, in mean variances: for features what is learned (0.03) and what is added (0.3), for texts
# 0.01. Chosen by the recipe of the bundled model on 884 films of held-out patients; twice as much or half as much
# changes their mean AUROC by 0.003 at most.
LEARNED, ADDED, TEXTS = 0.03, 0.3, 0.01
# What is added leaves the difference between a text and its mirror image ("left …", "right …") as it was: few images
# are known by side, and the many others are told that both sides are equally likely.
MIRRORED = 100.0
# Embeddings are of length 1, which bends what is linear: a strong finding makes all others weaker. A constant of twice
# the root mean square of the rest, in the direction that texts differ in least, makes the lengths nearly equal.
CONSTANT = 2.0
# Half of how far the learned embeddings lie on the side of "no" on average, so that what is rare stays improbable. The
# whole would cost 0.003 of AUROC by the lengths that are left.
LEVEL = 0.5


@dataclass(frozen=True)
class Images:
    """What is known of N images.

    Attributes:
        features: (N, F), what the projection is given.
        embeds: (N, D), of length 1, what it makes of them now.
        said: (N, D) sum over the texts said of an image: truth × weight of the text × embedding of the text.
        groups: (N,) from 0; only images of one group are compared.
        weights: (N,) how much each counts.
    """

    features: Floats
    embeds: Floats
    said: Floats
    groups: Ints
    weights: Floats


@dataclass(frozen=True)
class Texts:
    """What is known of T texts.

    Attributes:
        embeds: (T, D), of length 1.
        weights: (T,) how much each counts; their sum is 1.
        mirrored: (M, 2) numbers of texts that are each other's mirror images.
    """

    embeds: Floats
    weights: Floats
    mirrored: Ints


def fit_readout(images: Images, texts: Texts) -> tuple[Floats, Floats]:
    """The projection: weight (D, F) and bias (D,)."""
    share = images.weights / images.weights.sum()
    x, learned, said = (_within(each, images.groups) for each in (images.features, images.embeds, images.said))
    weighted = x.T * share
    covariance = weighted @ x
    seconds = (texts.embeds.T * texts.weights) @ texts.embeds
    start = np.linalg.solve(covariance + _ridge(covariance, LEARNED), weighted @ learned)
    target = weighted @ said
    scale = float((start * target).sum() / (start * (covariance @ start @ seconds)).sum())
    missed = target - scale * covariance @ start @ seconds
    added = np.linalg.solve(covariance + _ridge(covariance, ADDED), missed)
    kept = seconds + _ridge(seconds, TEXTS) + _mirrors(texts, np.trace(seconds))
    weight: Floats = scale * start.T + np.linalg.solve(kept, added.T)
    return weight, _bias(images, share, weight, scale, texts)


def _bias(images: Images, share: Floats, weight: Floats, scale: float, texts: Texts) -> Floats:
    mean = share @ images.features
    size = np.sqrt(share @ (((images.features - mean) @ weight.T) ** 2).sum(axis=1))
    centred = texts.embeds - texts.embeds.mean(axis=0)
    least: Floats = np.linalg.eigh(centred.T @ centred)[1][:, 0]
    level = LEVEL * scale * (share @ images.embeds)
    bias: Floats = level + CONSTANT * size * least - weight @ mean
    return bias


def _within(values: Floats, groups: Ints) -> Floats:
    """(N, K) minus the mean of each group."""
    counts = np.bincount(groups)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, groups, values)
    centred: Floats = values - (sums / np.maximum(counts, 1)[:, None])[groups]
    return centred


def _ridge(moments: Floats, strength: float) -> Floats:
    return strength * np.trace(moments) / len(moments) * np.eye(len(moments))


def _mirrors(texts: Texts, size: float) -> Floats:
    """(D, D), large along the differences between mirror images."""
    differences = texts.embeds[texts.mirrored[:, 0]] - texts.embeds[texts.mirrored[:, 1]]
    found: Floats = differences.T @ differences
    total = np.trace(found)
    return found * (MIRRORED * size / total) if total > 0 else np.zeros_like(found)
