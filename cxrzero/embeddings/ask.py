"""What films are asked whose embeddings are kept: labels, and which are nearest to something."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrzero.display.oneline import end_of
from cxrzero.embeddings.embeddings import Embeddings
from cxrzero.maths import Float32s
from cxrzero.model.score import Scorer, Scores
from cxrzero.prediction import Prediction

# Films times labels of one scorer call, as in `cxrzero.pipeline.run`.
SCORED_CELLS = 2**17
LEAST_FILMS = 64


@dataclass(frozen=True, slots=True)
class Hit:
    """One film of a search.

        >>> [hit] = screener.search("films/", like="films/normal.png", top=1)
        >>> hit.rank, hit.row.path, round(hit.cosine, 3)
        (1, 'films/normal.png', 1.0)

    Attributes:
        rank: from 1; equal cosines keep the order of the films.
        cosine: of film and query, in [−1, 1]; not a probability.
    """

    rank: int
    cosine: float
    row: Prediction

    def __repr__(self) -> str:
        frame = "" if self.row.frame is None else f" frame {self.row.frame}"
        return f"<Hit {self.rank}: cosine {self.cosine:.3f}, {end_of(self.row.path)}{frame}>"


def nothing(image_embeds: Float32s) -> Scores:
    """A scorer of no labels."""
    return Scores(np.zeros((len(image_embeds), 0), np.float32))


def scored_rows(embeddings: Embeddings, scorer: Scorer, labels: Collection[str]) -> Iterator[Prediction]:
    """The rows of a prediction table, in order, those of films without an embedding too.

    Args:
        labels: of the scorer; a dict finds one of thousands at once.
    """
    answers = scored(embeddings.image_embeds, scorer, labels)
    for row in embeddings.rows:
        scores = next(answers) if row.status == "ok" else {}
        yield Prediction(
            row.path, labels, row.status, row.frame, row.facts, row.flags, row.error, code=row.code, **scores
        )


def scored(image_embeds: Float32s, scorer: Scorer, labels: Collection[str]) -> Iterator[dict[str, Any]]:
    """For each film the numbers of its Prediction, by the names of its fields."""
    some = max(LEAST_FILMS, SCORED_CELLS // max(1, len(labels)))
    for start in range(0, len(image_embeds), some):
        yield from scorer(image_embeds[start : start + some]).rows(labels)


def nearest(embeddings: Embeddings, query: Float32s, top: int) -> list[Hit]:
    """The `top` films nearest to a query, nearest first.

    Args:
        query: (D,) float32 of length 1.
    """
    cosines = (embeddings.image_embeds.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    films = embeddings.films
    order = np.argsort(-cosines, kind="stable")[:top]
    return [Hit(rank, float(cosines[place]), films[place]) for rank, place in enumerate(order, start=1)]
