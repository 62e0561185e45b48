"""The projection that --refit fits: the solution of its equations, sides left alone, lengths nearly equal."""

from __future__ import annotations

import numpy as np
import pytest

from cxrzero.train.model.readout import ADDED, CONSTANT, LEARNED, MIRRORED, TEXTS, Images, Texts, fit_readout

N, F, D, T = 400, 7, 5, 6


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def known(rng, mirrored=()):
    """Images whose features show by how much each text is true, in two groups of other brightness."""
    truths = rng.random((N, T))
    groups = np.arange(N) % 2
    features = truths @ rng.normal(size=(T, F)) + 3 * groups[:, None] + 0.1 * rng.normal(size=(N, F))
    embeds = unit(rng.normal(size=(T, D)))
    weights = rng.random(T) + 0.5
    texts = Texts(embeds, weights / weights.sum(), np.array(mirrored, np.int64).reshape(-1, 2))
    learned = unit(features @ rng.normal(size=(F, D)) + rng.normal(size=D))
    images = Images(features, learned, (truths * texts.weights) @ embeds, groups, rng.random(N) + 0.5)
    return images, texts, truths


def centred(values, groups):
    return np.concatenate([values[[row]] - values[groups == groups[row]].mean(axis=0) for row in range(len(values))])


def ridge(moments, strength):
    return strength * np.trace(moments) / len(moments) * np.eye(len(moments))


def test_the_weight_solves_the_two_sided_ridge_regression(rng):
    images, texts, truths = known(rng)
    weight, _ = fit_readout(images, texts)
    share = np.diag(images.weights / images.weights.sum())
    x, y, learned = (centred(each, images.groups) for each in (images.features, truths, images.embeds))
    c, s = x.T @ share @ x, texts.embeds.T @ np.diag(texts.weights) @ texts.embeds
    start = np.linalg.inv(c + ridge(c, LEARNED)) @ x.T @ share @ learned
    told = x @ start @ texts.embeds.T
    scale = np.sum(share @ (told * y * texts.weights)) / np.sum(share @ (told**2 * texts.weights))
    # vec(A) of (C + λ) A (S + μ) = Xᵀ W (Y − told) Ω T, as one system of F · D equations.
    missed = x.T @ share @ ((y - scale * told) * texts.weights) @ texts.embeds
    system = np.kron(c + ridge(c, ADDED), (s + ridge(s, TEXTS)).T)
    added = np.linalg.solve(system, missed.ravel()).reshape(F, D)
    np.testing.assert_allclose(weight.T, scale * start + added, rtol=1e-8)


def test_what_is_true_is_nearer_than_before(rng):
    images, texts, truths = known(rng)
    weight, bias = fit_readout(images, texts)
    cosines = unit(images.features @ weight.T + bias) @ texts.embeds.T
    y, before, after = (centred(each, images.groups) for each in (truths, images.embeds @ texts.embeds.T, cosines))

    def agreement(found):
        return np.mean([np.corrcoef(found[:, text], y[:, text])[0, 1] for text in range(T)])

    assert agreement(after) > agreement(before) + 0.2


def test_left_against_right_stays_as_it_was_learned(rng):
    images, texts, _ = known(rng, mirrored=[(0, 1)])
    free, _ = fit_readout(images, Texts(texts.embeds, texts.weights, np.empty((0, 2), np.int64)))
    held, _ = fit_readout(images, texts)
    x, learned = (centred(each, images.groups) for each in (images.features, images.embeds))
    share = images.weights / images.weights.sum()
    start = np.linalg.solve((x.T * share) @ x + ridge((x.T * share) @ x, LEARNED), (x.T * share) @ learned)
    difference = texts.embeds[0] - texts.embeds[1]
    side = x @ start @ difference
    changes = [1 - abs(np.corrcoef(side, x @ weight.T @ difference)[0, 1]) for weight in (free, held)]
    assert changes[1] < 0.01 * MIRRORED / 100
    assert changes[1] < changes[0] / 10


def test_a_constant_makes_lengths_alike_and_keeps_the_order(rng):
    images, texts, _ = known(rng)
    weight, bias = fit_readout(images, texts)
    raw = (images.features @ weight.T + bias)[images.groups == 0]
    spreads = [lengths.std() / lengths.mean() for lengths in np.linalg.norm([raw, raw - raw.mean(axis=0)], axis=2)]
    assert spreads[0] < 1.5 / CONSTANT * spreads[1]
    for text in range(1, T):
        direction = texts.embeds[text] - texts.embeds[0]
        assert np.corrcoef(raw @ direction, unit(raw) @ direction)[0, 1] > 0.9
