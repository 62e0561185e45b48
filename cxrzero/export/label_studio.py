"""Tasks of Label Studio with predictions, and the labelling configuration that shows them.

The format is that of Label Studio's guide (Import pre-annotated data): a task is {data, predictions}, a prediction
{model_version, score, result}, and a result of `Choices` {from_name, to_name, type, value: {choices}}. A prediction has
one score, so the probability of each label stands in the data, where the configuration shows it as a table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape

from cxrzero.display.visible import visible
from cxrzero.errors import LabelError
from cxrzero.export.pictures import Shown
from cxrzero.export.table import Film

IMAGE, FINDINGS, SCORES = "image", "findings", "scores"


def choices_of(labels: Sequence[str]) -> dict[str, str]:
    """Label → what it is called in both files: XML has no control characters.

    Raises:
        LabelError: two labels would be called alike.
    """
    names = {label: visible(label) for label in labels}
    if len(set(names.values())) < len(names):
        raise LabelError("two labels differ only in characters that cannot be shown; export one of them")
    return names


def configuration(labels: Sequence[str]) -> str:
    """The labelling configuration: the film, a box to tick for each label, and the probabilities."""
    choices = "".join(f"    <Choice value={_attribute(name)}/>\n" for name in choices_of(labels).values())
    return (
        "<View>\n"
        f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true" brightnessControl="true" '
        'contrastControl="true"/>\n'
        f'  <Choices name="{FINDINGS}" toName="{IMAGE}" choice="multiple" showInline="true">\n{choices}  </Choices>\n'
        '  <Header value="Probabilities"/>\n'
        f'  <Table name="{SCORES}" value="${SCORES}"/>\n'
        "</View>\n"
    )


def lines_of(shown: Iterable[Shown], labels: Sequence[str], model: str, prefix: str) -> Iterator[str]:
    """The tasks, a line for each film.

    Args:
        model: name and fingerprint of what made the scores; "" where nobody knows.
        prefix: of the address of each picture that has none of its own.
    """
    names = choices_of(labels)
    yield "[\n"
    for place, each in enumerate(shown):
        yield f"{',' * bool(place)}{json.dumps(_task(each, names, model, prefix))}\n"
    yield "]\n"


def _task(each: Shown, names: Mapping[str, str], model: str, prefix: str) -> dict[str, object]:
    film = each.film
    data: dict[str, object] = {
        IMAGE: each.path if each.is_address else prefix + quote(os.fsencode(each.path.lstrip("/"))),
        "path": film.path,
        "frame": film.frame,
        "flags": ";".join(film.flags),
        SCORES: {names[label]: value for label, value in film.scores.items()},
    }
    return {"data": data, "predictions": [_prediction(film, names, model)]}


def _prediction(film: Film, names: Mapping[str, str], model: str) -> dict[str, object]:
    """What the model would tick; of a film that nothing was decided about, nothing."""
    chosen = [names[label] for label in names if film.found.get(label)]
    region = {
        "id": f"row-{film.row}",
        "from_name": FINDINGS,
        "to_name": IMAGE,
        "type": "choices",
        "value": {"choices": chosen},
    }
    score = {"score": max(film.scores.values())}
    return {**({"model_version": model} if model else {}), **score, "result": [region] if chosen else []}


def _attribute(text: str) -> str:
    """A value in quotes that no text ends."""
    return '"' + escape(text, {'"': "&quot;"}) + '"'
