"""How predictions become rows of a table: wide, one row per image, or long, one row per image and label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cxrzero.errors import LabelError
from cxrzero.prediction import FIXED_COLUMNS, FIXED_TYPES, Cell, Prediction

COSINES = ("cos_pos", "cos_neg")


class Layout(Protocol):
    """Which columns a table has (name → type of its cells), and the rows of one prediction."""

    @property
    def columns(self) -> dict[str, type]: ...

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]: ...


@dataclass(frozen=True, slots=True)
class Wide:
    """The fixed columns, a probability for each label, then on request all cos_pos, all cos_neg."""

    labels: tuple[str, ...]
    scores: bool = False

    @property
    def columns(self) -> dict[str, type]:
        names = (*self.labels, *(f"{label}_{cosine}" for cosine in COSINES if self.scores for label in self.labels))
        return {**FIXED_TYPES, **dict.fromkeys(names, float)}

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]:
        cells = prediction.fixed()
        cells += map(prediction.scores.get, self.labels)
        if self.scores:
            cells += map(prediction.cos_pos.get, self.labels)
            cells += map(prediction.cos_neg.get, self.labels)
        yield cells


@dataclass(frozen=True, slots=True)
class Long:
    """The fixed columns, `label`, `probability`, then on request `cos_pos`, `cos_neg`.

    An image that is not scored has its rows too, without numbers.
    """

    labels: tuple[str, ...]
    scores: bool = False

    @property
    def columns(self) -> dict[str, type]:
        return {**FIXED_TYPES, "label": str, "probability": float, **dict.fromkeys(COSINES * self.scores, float)}

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]:
        fixed = prediction.fixed()
        for label in self.labels:
            cells = [*fixed, label, prediction.scores.get(label)]
            if self.scores:
                cells += (prediction.cos_pos.get(label), prediction.cos_neg.get(label))
            yield cells


def build_layout(labels: Sequence[str], *, long: bool, scores: bool) -> Layout:
    """Choose the layout.

    Raises:
        LabelError: a wide table would have two columns of one name.
    """
    if long:
        return Long(tuple(labels), scores)
    if scores:
        taken = {*FIXED_COLUMNS, *labels}
        for label in labels:
            clash = next((f"{label}_{cosine}" for cosine in COSINES if f"{label}_{cosine}" in taken), None)
            if clash:
                raise LabelError(f"the label {clash!r} is also the name of a column of --scores; choose other words")
    return Wide(tuple(labels), scores)
