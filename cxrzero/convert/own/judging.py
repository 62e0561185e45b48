"""What is asked of embeddings before they are taken for such: shape, numbers, length, and no word of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.errors import ImportModelError, InexactExportError

# A length that differs more is that of an encoder without normalisation; less is rounding, also of half precision.
UNIT_TOLERANCE = 1e-4
MIN_COSINE = 0.99999  # as for every other import

Rows = npt.NDArray[np.float64]


def rows_of(answers: Sequence[npt.NDArray[Any]], called: Path, axes: int = 2) -> Rows:
    """Answers to one input each, (1, D) or of a fixed batch, → (N, D); tokens (1, T, D) → (N, T·D).

    Raises:
        ImportModelError: they are no vectors, not finite, zero, or one and the same for all inputs.
    """
    for each in answers:
        if each.ndim != axes or len({answer.shape[1:] for answer in answers}) > 1 or not each.size:
            expected = "embeddings are (N, D)" if axes == 2 else "tokens are (N, T, D)"
            raise ImportModelError(f"{called} gives numbers of the shape {each.shape}; {expected}")
        if each.dtype.kind != "f":
            raise ImportModelError(f"{called} gives {each.dtype}; embeddings are floating-point numbers")
    rows = np.concatenate([each[:1].reshape(1, -1) for each in answers]).astype(np.float64)
    if not np.isfinite(rows).all():
        raise ImportModelError(
            f"{called} gives numbers that are not finite; is the preprocessing that of its training?"
        )
    if not np.linalg.norm(rows, axis=1).all():
        raise ImportModelError(f"{called} gives a vector of zeros, which has no direction")
    if len(rows) > 1 and cosine(rows[1:], np.broadcast_to(rows[:1], rows[1:].shape)) > 1 - 1e-7:
        raise ImportModelError(
            f"{called} gives one and the same embedding for different inputs; is it the right output?"
        )
    return rows


def lengths(rows: Rows) -> tuple[float, float]:
    """The least and the largest length of an embedding."""
    found = np.linalg.norm(rows, axis=1)
    return float(found.min()), float(found.max())


def is_normalised(rows: Rows) -> bool:
    return max(abs(length - 1) for length in lengths(rows)) <= UNIT_TOLERANCE


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The least cosine between rows of (N, D) and (N, D); NaN where one has no direction."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return float(((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def check_alone(
    together: npt.NDArray[Any], again: npt.NDArray[Any], alone: Sequence[npt.NDArray[Any]], called: Path, freed: bool
) -> None:
    """Check that an input has one embedding, whatever shares its batch.

    Args:
        together, again: (N, D), twice the same call.
        alone: (1, D) of each.
        freed: whether the import took the fixed batch size off.

    Raises:
        ImportModelError: it has several.
    """
    if not all(each.shape == (1, *together.shape[1:]) for each in alone) or len(together) != len(alone):
        raise ImportModelError(f"{called} does not give one embedding for each input of a batch{_of_fixed(freed)}")
    if not np.array_equal(together, again, equal_nan=True):
        raise ImportModelError(f"{called} gives two results for the same input: a random operator, such as dropout")
    least = cosine(_flat(together), _flat(np.concatenate(list(alone))))
    if not least >= MIN_COSINE:
        raise ImportModelError(
            f"{called}: an input has another embedding alone than in a batch (cosine {least:.6f}): it depends on its "
            f"neighbours, by a norm or a quantisation over the whole batch{_of_fixed(freed)}; export it in evaluation "
            "mode"
        )


def check_same(rows: Rows, made: Rows, called: Path) -> float:
    """The least cosine between what the user's graph gives and what the bundle's does.

    Raises:
        InexactExportError: they differ.
    """
    least = cosine(rows, _flat(made))
    if not least >= MIN_COSINE:
        raise InexactExportError(
            f"in the bundle {called} would give other embeddings (cosine {least:.6f}, at least {MIN_COSINE} is "
            "needed); nothing was written"
        )
    return least


def _flat(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rows.reshape(len(rows), -1)


def _of_fixed(freed: bool) -> str:
    return (
        ", and its batch axis was exported with a fixed size (export it with a free one: dynamic_axes)" if freed else ""
    )
