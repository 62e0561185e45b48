"""Logits of sentences to probabilities of labels, by arithmetic."""

from typing import Any

import numpy as np
import pytest

from cxrzero.maths import Float32s
from cxrzero.model.model_json import Scoring
from cxrzero.model.score import Classifier, Ensemble
from cxrzero.model.token_scorer import TokenScorer, distinct_sentences

SENTENCES = np.arange(4, dtype=np.float32)[:, None]
FILMS = np.array([[1], [2], [-3]], np.float32)


def product(films: Float32s, texts: Float32s) -> Float32s:
    """A logit is a film's number times a sentence's."""
    return np.asarray(films @ texts.T)


def rows(*labels: list[int]) -> tuple[Any, ...]:
    return tuple(np.array(each) for each in labels)


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_a_label_counts_by_the_mean_of_its_sentences() -> None:
    scoring = Scoring("scorer", 0.5, 0.25)
    scores = TokenScorer(SENTENCES, rows([1], [1, 2]), (), scoring, 1, product)(FILMS)
    expected = [[sigmoid(0.5 * x + 0.25), sigmoid(0.5 * 1.5 * x + 0.25)] for x in (1, 2, -3)]
    np.testing.assert_allclose(scores.probability, expected, rtol=1e-6)
    assert scores.cos_pos is None
    assert scores.cos_neg is None
    assert [set(row) for row in scores.rows(["a", "b"])] == [{"scores"}] * 3


def test_pairs_are_compared() -> None:
    scorer = TokenScorer(SENTENCES, rows([3], [0]), rows([1], [1, 2]), Scoring("scorer", 2.0, pairs=True), 1, product)
    np.testing.assert_allclose(scorer.evidence(FILMS), [[2.0, -1.5], [4.0, -3.0], [-6.0, 4.5]])
    np.testing.assert_allclose(scorer(FILMS).probability[0], [sigmoid(4), sigmoid(-3)], rtol=1e-6)


def test_attention_is_that_of_the_positive_sentences() -> None:
    def attend(films: Float32s, texts: Float32s) -> Float32s:
        return np.asarray(product(films, texts)[..., None, None] * np.array([[1, 10]], np.float32))

    scorer = TokenScorer(SENTENCES, rows([1], [2, 3]), rows([0], [0]), Scoring("scorer", 1.0, pairs=True), 1, product)
    np.testing.assert_allclose(scorer.attention(FILMS, attend)[1], [[[2, 20]], [[5, 50]]])


@pytest.mark.parametrize(
    ("scoring", "sentences", "positive", "negative"),
    [
        (Scoring("scorer", 1.0), ("a", "b"), [[0], [1, 0]], []),
        (Scoring("scorer", 1.0, pairs=True), ("a", "no a", "b", "no b"), [[0], [2, 0]], [[1], [3]]),
        (
            Scoring("scorer", 1.0, together=True, companions=("x", "b")),
            ("x", "b", "a"),
            [[2], [1, 2]],
            [],
        ),
    ],
)
def test_each_sentence_is_asked_once(
    scoring: Scoring, sentences: tuple[str, ...], positive: list[list[int]], negative: list[list[int]]
) -> None:
    found = distinct_sentences([(("a",), ("no a",)), (("b", "a"), ("no b",))], scoring)
    assert found[0] == sentences
    assert [each.tolist() for each in found[1]] == positive
    assert [each.tolist() for each in found[2]] == negative


def test_an_ensemble_of_both_kinds_has_probabilities_and_no_cosines() -> None:
    tokens = TokenScorer(SENTENCES, rows([1]), (), Scoring("scorer", 0.5), 1, product)
    cosines = Classifier(np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32), Scoring("softmax_pair", 3.0))
    ensemble = Ensemble((tokens, cosines))
    films = np.array([[2, 0.6, 0.8]], np.float32)
    scores = ensemble(films)
    each = np.array([sigmoid(1.0), sigmoid(3 * (0.6 - 0.8))])
    np.testing.assert_allclose(scores.probability[0, 0], each.mean(), rtol=1e-6)
    assert scores.sd is not None
    np.testing.assert_allclose(scores.sd[0, 0], each.std(ddof=1), rtol=1e-5)
    assert scores.cos_pos is None
    assert scores.cos_neg is None
    np.testing.assert_allclose(ensemble.evidence(films), [[(0.5 * 2 + 3 * (0.6 - 0.8)) / 2]], rtol=1e-5)
