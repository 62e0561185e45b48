"""Zero-shot scoring in NumPy: embeddings in, cosines and probabilities out. `token_scorer.py` does it with tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cxrzero.maths import Float32s, sigmoid
from cxrzero.model.model_json import SCORER_RULE, Scoring

Objects = npt.NDArray[np.object_]

# (N, D) image embeddings → (N, L) what the probabilities rise with, see `Classifier.evidence`.
Evidence = Callable[[Float32s], Float32s]

COSINES = ("cos_pos", "cos_neg")

# NumPy's OpenBLAS computes a product of so many multiplications in the thread that asks for it (its interface/gemm.c:
# 4 × 65536). A larger one wakes more threads, which then wait busily for the next, 0.1 s long, on cores that decode.
ALONE = 2**18
# Fewer images at once would read the texts too often.
LEAST_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Scores:
    """Results of N images for L labels, each array (N, L).

    Attributes:
        cos_pos, cos_neg: no arrays where nobody reads them, see `ProbabilityOnly`, or where a model has none.
        sd: between the probabilities of an ensemble's members; without an ensemble no array.
        calibrated, decision: Python numbers, None where the calibration has nothing for a label; without a
            calibration no arrays. See `cxrzero.calibration.applied`.
    """

    probability: Float32s
    cos_pos: Float32s | None = None
    cos_neg: Float32s | None = None
    sd: Float32s | None = None
    calibrated: Objects | None = None
    decision: Objects | None = None

    def rows(self, labels: Collection[str]) -> Iterator[dict[str, Any]]:
        """Make for each image the fields of its Prediction: name → label → Python number."""
        fields = {
            "scores": self.probability,
            "sd": self.sd,
            "cos_pos": self.cos_pos,
            "cos_neg": self.cos_neg,
            "calibrated": self.calibrated,
            "decision": self.decision,
        }
        columns = {
            name: [dict(zip(labels, row, strict=True)) for row in array.tolist()]
            for name, array in fields.items()
            if array is not None
        }
        for row in zip(*columns.values(), strict=True):
            yield dict(zip(columns, row, strict=True))


class Scorer(Protocol):
    """What the pipeline asks: (N, F) float32, what the encoders gave of N images, to the scores of all labels."""

    def __call__(self, images: Float32s, /) -> Scores: ...


class Part(Scorer, Protocol):
    """One model's scorer, alone or in an ensemble.

    Attributes:
        width: F, numbers that its encoder gives of an image.
        scoring: its rule.
    """

    @property
    def width(self) -> int: ...

    @property
    def scoring(self) -> Scoring: ...

    def evidence(self, images: Float32s, /) -> Float32s:
        """(N, F) → (N, L) what the probabilities rise with, before `scoring.scale`."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """Text embeddings of L labels, each array (L, D) float32 with rows of length 1."""

    positive: Float32s
    negative: Float32s
    scoring: Scoring

    @property
    def width(self) -> int:
        return int(self.positive.shape[1])

    def __call__(self, image_embeds: Float32s) -> Scores:
        """Compare images with every label (CheXzero, Methods: softmax of the pair = σ of the difference).

        Args:
            image_embeds: (N, D) float32, rows of length 1.
        """
        # float64 sums: the last float32 digit then does not depend on how many images share the call
        images = image_embeds.astype(np.float64)
        cos_pos = _products(images, self.positive.astype(np.float64))
        cos_neg = _products(images, self.negative.astype(np.float64))
        if self.scoring.rule == "softmax_pair":
            logits = self.scoring.scale * (cos_pos - cos_neg)
        else:
            logits = self.scoring.scale * cos_pos + self.scoring.bias
        return Scores(sigmoid(logits).astype(np.float32), cos_pos.astype(np.float32), cos_neg.astype(np.float32))

    def evidence(self, embeds: Float32s) -> Float32s:
        """What the probability rises with: (…, D), rows of length 1 → (…, L) cos⁺ − cos⁻, or cos⁺ by "sigmoid"."""
        rises = self.positive.astype(np.float64)
        if self.scoring.rule == "softmax_pair":
            rises = rises - self.negative
        rows = embeds.reshape(-1, embeds.shape[-1]).astype(np.float64)
        return _products(rows, rises).astype(np.float32).reshape(*embeds.shape[:-1], len(rises))


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Several models asked the same labels, each with its own prompts and scoring rule."""

    members: tuple[Part, ...]

    def __call__(self, image_embeds: Float32s) -> Scores:
        """Average the members.

        Args:
            image_embeds: (N, ΣF) float32, what the members' encoders gave side by side.

        Returns:
            The mean probability and, where all have cosines, mean cosines; `sd` is the sample standard deviation
            (n − 1) of the probabilities.
        """
        scores = [member(part) for member, part in zip(self.members, self._parts(image_embeds), strict=True)]
        probability = np.stack([each.probability for each in scores]).astype(np.float64)
        mean, sd = probability.mean(axis=0).astype(np.float32), probability.std(axis=0, ddof=1).astype(np.float32)
        if any(each.cos_pos is None for each in scores):
            return Scores(mean, sd=sd)
        cosines = [np.mean([getattr(each, name) for each in scores], axis=0, dtype=np.float64) for name in COSINES]
        cos_pos, cos_neg = (np.asarray(each, np.float32) for each in cosines)
        return Scores(mean, cos_pos, cos_neg, sd)

    def evidence(self, image_embeds: Float32s) -> Float32s:
        """The mean of the members', see `Classifier.evidence`: (N, ΣF) → (N, L). Cosines and logits differ in size, so
        that those of models of different kinds count by what each makes of them, times its scale."""
        found = [member.evidence(part) for member, part in zip(self.members, self._parts(image_embeds), strict=True)]
        if len({member.scoring.rule == SCORER_RULE for member in self.members}) > 1:
            found = [member.scoring.scale * each for member, each in zip(self.members, found, strict=True)]
        return np.asarray(np.mean(found, axis=0, dtype=np.float64), np.float32)

    def _parts(self, image_embeds: Float32s) -> list[Float32s]:
        ends = np.cumsum([member.width for member in self.members])[:-1]
        return np.split(image_embeds, ends, axis=1)


@dataclass(frozen=True, slots=True)
class ProbabilityOnly:
    """A scorer without its cosines, which take as long to hand on as the probabilities."""

    scorer: Scorer

    def __call__(self, image_embeds: Float32s) -> Scores:
        return replace(self.scorer(image_embeds), cos_pos=None, cos_neg=None)


class Cosine(Classifier):
    """Gives the cosine to `positive` itself as the score, in [−1, 1]: for ranking, not a probability."""

    def __call__(self, image_embeds: Float32s) -> Scores:
        """(N, D) float32 → scores (N, L)."""
        cosines = (image_embeds.astype(np.float64) @ self.positive.T.astype(np.float64)).astype(np.float32)
        return Scores(cosines, cosines, cosines)


def mean_direction(text_embeds: Float32s) -> Float32s:
    """Average several prompts of one label as the reference does: normalise, mean, normalise.

    Args:
        text_embeds: (T, D) float32.

    Returns:
        (D,) float32 of length 1.
    """
    return np.asarray(_normalize(_normalize(text_embeds).mean(axis=0, keepdims=True))[0], np.float32)


def build_classifier(
    groups: Sequence[tuple[Float32s, Float32s]],
    scoring: Scoring,
) -> Classifier:
    """Stack the averaged prompts of all labels.

    Args:
        groups: for each label the embeddings of its positive (T⁺, D) and negative (T⁻, D) prompts.
    """
    return Classifier(
        np.stack([mean_direction(positive) for positive, _ in groups]),
        np.stack([mean_direction(negative) for _, negative in groups]),
        scoring,
    )


def _products(images: npt.NDArray[np.float64], texts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, D) × (L, D) → (N, L), in pieces that need no thread."""
    some = ALONE // max(1, texts.size)
    if len(images) <= some or some < LEAST_IMAGES:
        return images @ texts.T
    return np.concatenate([images[start : start + some] @ texts.T for start in range(0, len(images), some)])


def _normalize(rows: Float32s) -> Float32s:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)
