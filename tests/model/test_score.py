from typing import ClassVar

import numpy as np
import pytest

from cxrzero.maths import sigmoid
from cxrzero.model.model_json import Scoring
from cxrzero.model.score import ALONE, _products, build_classifier, mean_direction


def unit_rows(rng: np.random.Generator, n: int, d: int = 16) -> np.ndarray:
    rows = rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_softmax_pair_is_the_papers_softmax() -> None:
    rng = np.random.default_rng(0)
    images, positive, negative = unit_rows(rng, 5), unit_rows(rng, 3), unit_rows(rng, 3)
    classifier = build_classifier(
        [(p[None], n[None]) for p, n in zip(positive, negative, strict=True)], Scoring("softmax_pair", 1.0)
    )
    scores = classifier(images)
    for i, image in enumerate(images.astype(np.float64)):
        for j in range(3):
            a, b = np.exp(image @ positive[j]), np.exp(image @ negative[j])
            assert scores.probability[i, j] == pytest.approx(a / (a + b), abs=1e-6)
    assert scores.probability.dtype == np.float32
    assert scores.probability.shape == (5, 3)


def test_sigmoid_rule_uses_the_positive_prompt_only() -> None:
    rng = np.random.default_rng(1)
    images, positive = unit_rows(rng, 4), unit_rows(rng, 1)
    for negative in (unit_rows(rng, 1), unit_rows(rng, 1)):
        scores = build_classifier([(positive, negative)], Scoring("sigmoid", 10.0, -2.0))(images)
        expected = 1 / (1 + np.exp(-(10 * (images.astype(float) @ positive[0]) - 2)))
        np.testing.assert_allclose(scores.probability[:, 0], expected, atol=1e-6)


def test_several_prompts_are_normalised_averaged_normalised() -> None:
    prompts = np.array([[3.0, 0.0], [0.0, 0.5]], np.float32)
    np.testing.assert_allclose(mean_direction(prompts), [0.5**0.5, 0.5**0.5], atol=1e-7)


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        values = sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4]))
    np.testing.assert_allclose(values, [0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1], atol=1e-15)


def test_an_image_scores_the_same_alone_and_in_company() -> None:
    rng = np.random.default_rng(2)
    images = unit_rows(rng, 257, 512)
    classifier = build_classifier(
        [(unit_rows(rng, 2, 512), unit_rows(rng, 2, 512)) for _ in range(40)], Scoring("softmax_pair", 50.0)
    )
    together = classifier(images).probability
    alone = np.concatenate([classifier(images[i : i + 1]).probability for i in range(257)])
    np.testing.assert_allclose(together, alone, atol=1e-7)


class Counted(np.ndarray):
    """Notes how many multiplications each product of it takes."""

    asked: ClassVar[list[int]] = []

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: np.ndarray, **kwargs: object) -> np.ndarray:
        plain = [np.asarray(each).view(np.ndarray) for each in inputs]
        if ufunc is np.matmul:
            self.asked.append(plain[0].size * plain[1].shape[1])
        result: np.ndarray = getattr(ufunc, method)(*plain, **kwargs)
        return result


@pytest.mark.parametrize(("n", "labels", "is_cut"), [(256, 15, True), (32, 15, False), (64, 2000, False)])
def test_products_are_small_enough_for_one_thread(n: int, labels: int, is_cut: bool) -> None:
    rng = np.random.default_rng(0)
    images, texts = unit_rows(rng, n, 384).astype(np.float64), unit_rows(rng, labels, 384).astype(np.float64)
    Counted.asked.clear()
    np.testing.assert_allclose(_products(images.view(Counted), texts), images @ texts.T, rtol=0, atol=1e-15)
    assert sum(Counted.asked) == n * labels * 384
    assert (len(Counted.asked) > 1) == is_cut
    if is_cut:
        assert max(Counted.asked) <= ALONE
