"""A trained student as one more teacher."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

from cxrzero.maths import sigmoid
from recipes.mini_again import opinion


def test_an_opinion_is_read_from_features_and_has_the_teachers_level_and_spread() -> None:
    """Labels are noisy and teachers know half: what the features say of new films is nearer to the truth."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4000, 30))
    truth = seen[:, :2] + seen[:, 2:4]
    odds = 2 * seen[:, :2] - 1 + rng.normal(size=(4000, 2))
    labels = (truth + rng.normal(size=truth.shape) > 0).astype(float)
    labels[rng.random(labels.shape) < 0.3] = np.nan
    trained = np.arange(4000) < 3000
    found = opinion(seen, labels, sigmoid(odds), trained)
    np.testing.assert_allclose(found[trained].mean(axis=0), odds[trained].mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found[trained].std(axis=0), odds[trained].std(axis=0), rtol=1e-6)
    for column in range(2):
        theirs = np.corrcoef(odds[~trained, column], truth[~trained, column])[0, 1]
        assert np.corrcoef(found[~trained, column], truth[~trained, column])[0, 1] > theirs + 0.1
    again = opinion(seen, np.where(trained[:, None], labels, 1 - labels), sigmoid(odds), trained)
    np.testing.assert_array_equal(found, again)  # what is held out is not learned from
