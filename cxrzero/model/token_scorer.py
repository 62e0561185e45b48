"""Zero-shot scoring of models that score by attention: tokens in, what scorer.onnx makes of them, probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrzero.maths import Float32s, Floats, sigmoid
from cxrzero.model.model_json import Scoring
from cxrzero.model.score import Scores

# (N, F) films, (S, G) sentences → (N, S) logits, or (N, S, h, w) what the scorer looks at.
Asked = Callable[[Float32s, Float32s], Float32s]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TokenScorer:
    """L labels asked of a model that has a scorer.

    Attributes:
        texts: (S, G) float32, what the text encoder gives of each distinct sentence of the question, a row each.
        positive, negative: for each label the rows of its sentences; `negative` is empty unless the rule asks pairs.
        width: F, numbers of a film.
        logits: what the scorer says.
    """

    texts: Float32s
    positive: tuple[Rows, ...]
    negative: tuple[Rows, ...]
    scoring: Scoring
    width: int
    logits: Asked

    def __call__(self, films: Float32s) -> Scores:
        """(N, F) float32 → scores (N, L), without cosines."""
        logits = self.scoring.scale * self._evidence(films) + self.scoring.bias
        return Scores(sigmoid(logits).astype(np.float32))

    def evidence(self, films: Float32s) -> Float32s:
        """What the probability rises with: (N, F) → (N, L) logit, or logit⁺ − logit⁻ of pairs."""
        return self._evidence(films).astype(np.float32)

    def attention(self, films: Float32s, attend: Asked) -> Float32s:
        """(N, L, h, w) float32: where the scorer looks for each label, the mean over its positive sentences."""
        return _means(attend(films, self.texts).astype(np.float64), self.positive).astype(np.float32)

    def _evidence(self, films: Float32s) -> Floats:
        logits = self.logits(films, self.texts).astype(np.float64)
        positive = _means(logits, self.positive)
        return positive - _means(logits, self.negative) if self.scoring.pairs else positive


def distinct_sentences(
    groups: Sequence[tuple[Sequence[str], Sequence[str]]], scoring: Scoring
) -> tuple[tuple[str, ...], tuple[Rows, ...], tuple[Rows, ...]]:
    """What a question asks a scorer.

    Args:
        groups: for each label its positive and its negative sentences; these are left out unless the rule asks pairs.

    Returns:
        Each sentence once, the companions first, then in the order asked; and for each label the places of its
        positive and of its negative sentences among them.
    """
    if not scoring.pairs:
        groups = [(positive, ()) for positive, _ in groups]
    asked = [sentence for pair in groups for side in pair for sentence in side]
    sentences = tuple(dict.fromkeys((*scoring.companions, *asked)))
    place = {sentence: row for row, sentence in enumerate(sentences)}
    positive, negative = (tuple(_places(pair[side], place) for pair in groups if pair[side]) for side in (0, 1))
    return sentences, positive, negative


def _places(side: Sequence[str], place: Mapping[str, int]) -> Rows:
    return np.array([place[sentence] for sentence in side], np.intp)


def _means(logits: Floats, labels: Sequence[Rows]) -> Floats:
    """(N, S, …) of sentences → (N, L, …): several sentences of a label count by their mean."""
    return np.stack([logits[:, rows].mean(axis=1) for rows in labels], axis=1)
