"""How good a model is so far, on images kept out of training: the one place that knows every measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor

from cxrzero.maths import AnyFloats, Ints
from cxrzero.tables.labelled import Labelled
from cxrzero.train.data.batches import TextEncoder
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.store import Pictures
from cxrzero.train.measure.chance import Luck, chance_of, luck_of
from cxrzero.train.measure.labelled import score_labelled, shown_names
from cxrzero.train.measure.retrieval import find_held_out, recall
from cxrzero.train.measure.statements import Statement, auroc_spread, find_statements, fit_scale, mean_auroc
from cxrzero.train.step.backward import Encode, Encoders

CHUNK = 128  # images or texts of one forward pass


@dataclass(frozen=True)
class Validation:
    """What was measured; None where there is nothing to measure it on.

    Attributes:
        auroc: (value, low, high) of the mean zero-shot AUROC over the labels of --val-labels.
        labels: the same for each label.
        statement_auroc: mean AUROC of held-out statements against their negations.
        retrieval: R@1 and R@5 in both directions.
        scale: fitted s of p = σ(s·d).
        retrieval_chance: of each of these by chance.
        luck: how far luck takes R@5.
        statement_spread: standard deviation of `statement_auroc` around 0.5 by chance.
    """

    auroc: tuple[float, float, float] | None
    labels: dict[str, tuple[float, float, float]]
    statement_auroc: float | None
    retrieval: dict[str, float]
    scale: float | None
    retrieval_chance: dict[str, float] = field(default_factory=dict)
    luck: Luck | None = None
    statement_spread: float | None = None

    @property
    def recall(self) -> float | None:
        """Mean of both directions' R@5."""
        values = [value for name, value in self.retrieval.items() if name.endswith("_r5")]
        return float(np.mean(values)) if values else None

    @property
    def score(self) -> float | None:
        """What checkpoints are chosen by: the first of AUROC, statement AUROC and recall that there is."""
        found = (None if self.auroc is None else self.auroc[0], self.statement_auroc, self.recall)
        return next((value for value in found if value is not None), None)

    def to_dict(self) -> dict[str, Any]:
        named = {
            "auroc": self.auroc,
            "labels": self.labels,
            "statement_auroc": self.statement_auroc,
            "statement_spread": self.statement_spread,
            "retrieval": self.retrieval,
            "retrieval_chance": self.retrieval_chance,
            "luck": None if self.luck is None else self.luck.to_dict(),
            "scale": self.scale,
        }
        return {name: value for name, value in named.items() if value not in (None, {})}


class Validator:
    """Measures models.

    Args:
        pixels: (N, H, W) of the pairs' images.
        labelled: table of --val-labels with its (M, H, W) pictures.
    """

    def __init__(
        self,
        pairs: Pairs,
        pixels: Pictures,
        labelled: tuple[Labelled, Pictures] | None,
        encode_texts: TextEncoder,
        prepare: Encode,
        device: torch.device,
        bf16: bool,
    ) -> None:
        self._pairs, self._pixels, self._labelled = pairs, pixels, labelled
        self._encode_texts, self._prepare, self._device, self._bf16 = encode_texts, prepare, device, bf16
        self._statements = find_statements(pairs)
        self._held_out = find_held_out(pairs)
        self._chance = {} if self._held_out is None else chance_of(self._held_out.truth)

    def __call__(self, model: CustomTextCLIP) -> Validation:
        """Measure in evaluation mode; the model comes back in the modes that it had."""
        modes = [(module, module.training) for module in model.modules()]
        encoders = Encoders(model.eval(), self._prepare, self._device, self._bf16)
        statements, differences = list(self._statements), self._statement_differences(encoders)
        statement_auroc = mean_auroc(statements, differences)
        auroc, labels = None, {}
        if self._labelled is not None:
            table, pixels = self._labelled
            d = self._label_differences(encoders, table, pixels)
            single, mean = score_labelled(table, d)
            auroc = (mean.value, mean.low, mean.high)
            scored = zip(shown_names(table), single.values(), strict=True)
            labels = {name: (each.value, each.low, each.high) for name, each in scored}
            for column in range(len(table.labels)):
                rows = np.flatnonzero(~np.isnan(table.truth[:, column]))
                statements.append(Statement(0, 0, rows, table.truth[rows, column] == 1))
                differences.append(d[rows, column])
        retrieval, luck = self._retrieval(encoders)
        for module, training in modes:
            module.training = training
        return Validation(
            auroc=auroc,
            labels=labels,
            statement_auroc=statement_auroc,
            retrieval=retrieval,
            scale=fit_scale(statements, differences),
            retrieval_chance=self._chance,
            luck=luck,
            statement_spread=auroc_spread(self._statements) if self._statements else None,
        )

    def text_embeds(self, model: CustomTextCLIP, texts: list[str]) -> AnyFloats:
        """(T, D) float32, of length 1; the model is left in evaluation mode."""
        return self._encode(Encoders(model.eval(), self._prepare, self._device, self._bf16), texts)

    def _statement_differences(self, encoders: Encoders) -> list[AnyFloats]:
        if not self._statements:
            return []
        wanted = np.unique(np.concatenate([s.images for s in self._statements]))
        asked = np.unique([[s.positive, s.negative] for s in self._statements])
        cosines = self._images(encoders, self._pixels, wanted) @ self._texts(encoders, asked).T
        found: list[AnyFloats] = []
        for statement in self._statements:
            rows = cosines[np.searchsorted(wanted, statement.images)]
            positive, negative = np.searchsorted(asked, [statement.positive, statement.negative])
            found.append(rows[:, positive] - rows[:, negative])
        return found

    def _label_differences(self, encoders: Encoders, table: Labelled, pixels: Pictures) -> AnyFloats:
        prompts = [*table.labels, *(f"no {label}" for label in table.labels)]
        texts = self._encode(encoders, prompts)
        cosines = self._images(encoders, pixels, np.arange(len(pixels))) @ texts.T
        positive, negative = np.split(cosines, 2, axis=1)
        return np.asarray(positive - negative)

    def _retrieval(self, encoders: Encoders) -> tuple[dict[str, float], Luck | None]:
        if self._held_out is None:
            return {}, None
        images = self._images(encoders, self._pixels, self._held_out.images)
        cosines, truth = images @ self._texts(encoders, self._held_out.texts).T, self._held_out.truth
        return recall(cosines, truth), luck_of(cosines, truth)

    def _images(self, encoders: Encoders, pixels: Pictures, rows: Ints) -> AnyFloats:
        return _in_chunks(
            lambda part: encoders.images(torch.from_numpy(pixels[part]).to(self._device).float() / 255), rows
        )

    def _texts(self, encoders: Encoders, rows: Ints) -> AnyFloats:
        return self._encode(encoders, [self._pairs.texts[i] for i in rows])

    def _encode(self, encoders: Encoders, texts: list[str]) -> AnyFloats:
        ids = self._encode_texts(texts).to(self._device)
        return _in_chunks(lambda part: encoders.texts(ids[torch.from_numpy(part)]), np.arange(len(texts)))


@torch.no_grad()
def _in_chunks(embed: Any, rows: Ints) -> AnyFloats:
    parts: list[Tensor] = [embed(rows[i : i + CHUNK]).cpu() for i in range(0, len(rows), CHUNK)]
    return np.asarray(torch.cat(parts).numpy())
