"""How predictions become rows of a table: wide, one row per image, or long, one row per image and label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cxrzero.errors import LabelError
from cxrzero.prediction import FIXED_COLUMNS, FIXED_TYPES, Cell, Prediction

# What a label can have besides its probability, in the order of the columns: the attribute of a Prediction that holds
# it, which is also the name of the column (long) or its end (wide) → type of its cells.
KINDS: dict[str, type] = {"calibrated": float, "decision": int, "sd": float, "cos_pos": float, "cos_neg": float}


class RowForm(Protocol):
    """Which columns a table has (name → type of its cells), and the rows of one prediction."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def columns(self) -> dict[str, type]: ...

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]: ...


@dataclass(frozen=True, slots=True)
class Wide:
    """The fixed columns, a probability for each label, then for each of `kinds` a column for each label."""

    labels: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, type]:
        more = {f"{label}_{kind}": KINDS[kind] for kind in self.kinds for label in self.labels}
        return {**FIXED_TYPES, **dict.fromkeys(self.labels, float), **more}

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]:
        cells = prediction.fixed()
        cells += map(prediction.scores.get, self.labels)
        for kind in self.kinds:
            cells += map(getattr(prediction, kind).get, self.labels)
        yield cells


@dataclass(frozen=True, slots=True)
class Long:
    """The fixed columns, `label`, `probability`, then `kinds`.

    An image that is not scored has its rows too, without numbers.
    """

    labels: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, type]:
        return {**FIXED_TYPES, "label": str, "probability": float, **{kind: KINDS[kind] for kind in self.kinds}}

    def rows(self, prediction: Prediction) -> Iterator[list[Cell]]:
        fixed = prediction.fixed()
        numbers = (prediction.scores, *(getattr(prediction, kind) for kind in self.kinds))
        for label in self.labels:
            yield [*fixed, label, *(by_label.get(label) for by_label in numbers)]


def row_form(labels: Sequence[str], *, long: bool, kinds: Iterable[str] = ()) -> RowForm:
    """Choose the form.

    Args:
        labels: in the order of the columns.
        long: one row per image and label.
        kinds: those of KINDS that are wanted, in any order.

    Raises:
        LabelError: a wide table would have two columns of one name.
    """
    wanted = set(kinds)
    ordered = tuple(kind for kind in KINDS if kind in wanted)
    if long:
        return Long(tuple(labels), ordered)
    taken = {*FIXED_COLUMNS, *labels}
    for kind in ordered:
        clash = next((f"{label}_{kind}" for label in labels if f"{label}_{kind}" in taken), None)
        if clash:
            raise LabelError(f"the label {clash!r} is also the name of a column for {kind}; choose other words")
    return Wide(tuple(labels), ordered)
