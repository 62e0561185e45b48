"""labels.json of FiftyOne's `FiftyOneImageClassificationDataset`, with several labels for each film.

The format is that of FiftyOne's user guide (Importing datasets, FiftyOneImageClassificationDataset): `classes`, and in
`labels` for each picture, named by its absolute path, a list of {label, confidence, attributes}, where `label` is a
place in `classes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence

from cxrzero.export.pictures import Shown
from cxrzero.export.table import Film


def lines_of(shown: Iterable[Shown], labels: Sequence[str], model: str) -> Iterator[str]:
    """The file, a line for each film.

    Args:
        labels: of the table; they are the classes.
        model: name and fingerprint of what made the scores; "" where nobody knows.
    """
    yield '{"classes": ' + json.dumps(list(labels)) + ',\n"labels": {\n'
    for place, each in enumerate(shown):
        name = json.dumps(os.path.abspath(each.path))
        yield f"{',' * bool(place)}{name}: {json.dumps(_classifications(each.film, labels, model))}\n"
    yield "}}\n"


def _classifications(film: Film, labels: Sequence[str], model: str) -> list[dict[str, object]]:
    found = []
    for place, label in enumerate(labels):
        attributes: dict[str, object] = {"model": model} if model else {}
        if label in film.calibrated:
            attributes["calibrated"] = film.calibrated[label]
        if label in film.found:
            attributes["found"] = film.found[label]
        found.append({"label": place, "confidence": film.scores[label], "attributes": attributes})
    return found
