"""Which images an epoch shows in which order, and which of their texts go with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cxrzero.train.data.pairs import Pairs

Draw = tuple[npt.NDArray[np.int64], list[npt.NDArray[np.int64]]]


class Sampler:
    """Draws batches of training images with their texts; the same (seed, epoch) gives the same batches.

    An image is drawn in proportion to the largest weight of its pairs (once an epoch on average), a text of the image
    in proportion to its own: so a rare finding can be shown more often and a common statement less.
    """

    def __init__(self, pairs: Pairs, batch_size: int, texts_per_image: int, seed: int) -> None:
        self._pairs = pairs
        self._batch_size = batch_size
        self._texts_per_image = texts_per_image
        self._seed = seed
        self.images = np.flatnonzero(~pairs.validation)
        largest = np.array([pairs.weights[i].max() for i in self.images])
        self._expected = largest / largest.mean()

    @property
    def steps(self) -> int:
        """Full batches in an epoch: random rounding of the draws may give one image more or less."""
        return len(self.images) // self._batch_size

    def epoch(self, number: int) -> Iterator[Draw]:
        """Yield (images (B,), texts drawn for each) for every batch of epoch `number`."""
        rng = np.random.default_rng((self._seed, number))
        # Systematic sampling: image i appears floor or ceil of its expected count, and the counts add up to N.
        order = rng.permutation(len(self.images))
        edges = np.concatenate([[0.0], np.cumsum(self._expected[order])]) + rng.random()
        counts = np.diff(np.floor(edges + 1e-9)).astype(np.int64)
        drawn = rng.permutation(np.repeat(self.images[order], counts))
        drawn = np.resize(drawn, self.steps * self._batch_size)
        for start in range(0, len(drawn), self._batch_size):
            batch = drawn[start : start + self._batch_size]
            yield batch, [self._texts(int(image), rng) for image in batch]

    def _texts(self, image: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        texts, weights = self._pairs.true_texts[image], self._pairs.weights[image]
        if len(texts) <= self._texts_per_image:
            return texts
        # Exponential keys: the k smallest are a weighted sample without replacement (Efraimidis, Spirakis 2006).
        keys = rng.exponential(size=len(texts)) / weights
        return texts[np.argpartition(keys, self._texts_per_image)[: self._texts_per_image]]
