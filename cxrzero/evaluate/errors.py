"""The films of the worst errors: of each label the highest negatives and the lowest positives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrzero.errors import ConfigError
from cxrzero.evaluate.dataset import Dataset, Films
from cxrzero.evaluate.join import Join
from cxrzero.evaluate.operating import OperatingPoint
from cxrzero.maths import Floats
from cxrzero.tables.names import PATH_NAMES, SOP_NAMES, find_column
from cxrzero.tables.read import Columns

EACH = 3  # films of a label and kind


@dataclass(frozen=True, slots=True)
class WorstError:
    """One row on the wrong side, and the film to look at.

    Attributes:
        is_positive: what the reference says.
        score: the row's: of a study that of all its films.
        place: of the film in `Films`: of several the one with the highest score.
        film_score: that score.
        n_films: that the row has.
    """

    label: str
    is_positive: bool
    score: float
    place: int
    film_score: float
    n_films: int


def worst_errors(dataset: Dataset, points: Mapping[str, OperatingPoint]) -> Iterator[WorstError]:
    """At most EACH of each label and kind, the worst first.

    A label with a threshold has those that it decided wrongly; one without has the highest negatives and the lowest
    positives, which no threshold would tell from errors.
    """
    if dataset.films is None:
        return
    for label in dataset.labels:
        rows = np.flatnonzero(dataset.usable(label))
        scores, truth = dataset.scores[label][rows], dataset.truth[label].values[rows] == 1
        point = points.get(label)
        for is_positive in (False, True):
            wrong = truth == is_positive
            if point is not None:
                wrong &= (scores >= point.threshold.value) != is_positive
            order = np.argsort(scores[wrong] if is_positive else -scores[wrong], kind="stable")
            for row in rows[wrong][order[:EACH]]:
                yield _error(dataset, dataset.films, label, is_positive, int(row))


def _error(dataset: Dataset, films: Films, label: str, is_positive: bool, row: int) -> WorstError:
    places = np.flatnonzero((films.target == row) & ~np.isnan(films.scores[label]))
    highest = int(places[np.argmax(films.scores[label][places])])
    score, film_score = float(dataset.scores[label][row]), float(films.scores[label][highest])
    return WorstError(label, is_positive, score, highest, film_score, len(places))


def films_of(predictions: Columns, join: Join, scores: Mapping[str, Floats]) -> Films:
    """Which film each joined prediction is of.

    Args:
        scores: label → (k,) of the joined predictions, NaN where there is none.

    Raises:
        ConfigError: the table does not name its films.
    """
    paths = find_column(list(predictions.text), PATH_NAMES)
    if paths is None:
        raise ConfigError(f"--images: {predictions.source.path} has no column with the paths of its films")

    def cells(column: str | None) -> Sequence[str]:
        if column is None:
            return [""] * len(join.predictions)
        return [predictions.text[column][row] for row in join.predictions]

    frames = cells("frame" if "frame" in predictions.text else None)
    return Films(cells(paths), frames, cells(find_column(list(predictions.text), SOP_NAMES)), join.target, dict(scores))
