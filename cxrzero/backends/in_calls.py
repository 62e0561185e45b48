"""How the rows of a batch, and the films and sentences of a question, are cut into calls of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

# A batch of each input of a graph, in their order → its output.
Run = Callable[..., npt.NDArray[Any]]

# Films and, where these do not look at each other, sentences of one call of a scorer: always as many, the last call
# filled up, so that a logit does not depend on what else is asked. More at once gain nothing: a film has hundreds of
# tokens.
SCORED_FILMS = 4
SCORED_SENTENCES = 4


def one_after_the_other(run: Run, rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """All rows in calls of `size`, the last one filled up."""
    parts = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        parts.append(run(_filled(part, size))[: len(part)])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def score_in_calls(
    run: Run, image_tokens: npt.NDArray[Any], text_tokens: npt.NDArray[Any], *, together: bool
) -> npt.NDArray[np.float32]:
    """(N, T, D) films and (L, S', E) sentences → (N, L, …).

    Args:
        together: all sentences in each call, since they look at each other.
    """
    films, sentences = len(image_tokens), len(text_tokens)
    size = sentences if together else SCORED_SENTENCES
    asked = [_filled(text_tokens[first : first + size], size) for first in range(0, sentences, size)]
    rows = []
    for first in range(0, films, SCORED_FILMS):
        some = _filled(image_tokens[first : first + SCORED_FILMS], SCORED_FILMS)
        rows.append(np.concatenate([run(some, each) for each in asked], axis=1))
    return np.asarray(np.concatenate(rows)[:films, :sentences], np.float32)


def _filled(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """At most `size` rows, filled up to as many with the first."""
    return np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)]) if len(rows) < size else rows
