"""LEACE by its theorems: what is erased, what stays, and that little is changed."""

from __future__ import annotations

import numpy as np
import pytest

from cxrzero.train.data.grouped import GroupedFilms
from cxrzero.train.model import erase
from cxrzero.train.model.erase import fit_eraser, moments, told_apart

SIZES = (60, 25, 140)


@pytest.fixture
def groups():
    return np.repeat(np.arange(3), SIZES)


@pytest.fixture
def features(groups):
    """Three groups of unequal size with means of their own, in 8 correlated directions."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(groups), 8)) @ rng.normal(size=(8, 8)) + rng.normal(size=(3, 8))[groups] * 2


def means(features, groups):
    return np.stack([features[groups == group].mean(axis=0) for group in range(3)])


def test_after_it_the_groups_have_one_mean_which_is_that_of_all(features, groups):
    """Theorem 4.2: no linear classifier tells them apart just if no mean differs. Each group counts a third."""
    eraser = fit_eraser(features, groups, 3)
    middle = means(features, groups).mean(axis=0)
    np.testing.assert_allclose(eraser.mean, middle, atol=1e-12)
    np.testing.assert_allclose(means(eraser(features), groups), np.tile(middle, (3, 1)), atol=1e-10)
    np.testing.assert_allclose(eraser(eraser(features)), eraser(features), atol=1e-10)


def test_what_is_changed_are_the_directions_of_the_means_alone(features, groups):
    """Features whose covariance is the identity: theorem 4.3 is then the projection along the means' differences."""
    weights = (1 / (3 * np.array(SIZES)))[groups]
    centred = features - weights @ features
    white = centred @ np.linalg.inv(np.linalg.cholesky((centred.T * weights) @ centred)).T
    eraser = fit_eraser(white, groups, 3)
    plane, _ = np.linalg.qr((means(white, groups)[1:] - means(white, groups)[0]).T)
    np.testing.assert_allclose(eraser.change, plane @ plane.T, atol=1e-10)


def test_shrinkage_decides_nothing_of_what_is_erased(features, groups, monkeypatch):
    """Also where there are more features than films, as in a group of 20 films of 1,280 features."""
    few = np.concatenate([np.flatnonzero(groups == group)[:3] for group in range(3)])
    wide = np.concatenate([features, features**2, np.ones((len(features), 4))], axis=1)[few]
    for shrinkage in (0.01, 0.5):
        monkeypatch.setattr(erase, "SHRINKAGE", shrinkage)
        left = fit_eraser(wide, groups[few], 3)(wide)
        np.testing.assert_allclose(means(left, groups[few]), np.tile(left[:3].mean(axis=0), (3, 1)), atol=1e-8)


def test_moments_by_hand():
    found = moments(np.array([[0.0], [2.0], [10.0]]), np.array([0, 0, 1]), 2)
    assert found.mean == pytest.approx([5.5])  # (1 + 10) / 2
    assert found.covariance[0] == pytest.approx([(5.5**2 + 3.5**2) / 4 + 4.5**2 / 2])
    assert found.cross[0] == pytest.approx([(1 - 5.5) / 2, (10 - 5.5) / 2])


def test_the_folded_layer_answers_as_the_layer_after_the_eraser(features, groups):
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(4, 8)), rng.normal(size=4)
    eraser = fit_eraser(features, groups, 3)
    folded, shifted = eraser.folded(weight, bias)
    np.testing.assert_allclose(features @ folded.T + shifted, eraser(features) @ weight.T + bias, atol=1e-10)


def test_groups_are_told_apart_before_and_by_chance_after(groups):
    """Groups that differ in one direction only, so that whoever knows it is always right."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(len(groups), 6))
    features[:, 0] += 20 * groups
    films = GroupedFilms(np.arange(len(groups)), groups, np.arange(len(groups)) % 4)
    assert told_apart(features, films, lambda x: x, erase=False) == 1
    assert told_apart(features, films, lambda x: x, erase=True) == pytest.approx(1 / 3, abs=0.08)
