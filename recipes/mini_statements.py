"""What is said of a film: for each text how often it is drawn, and how true it is.

Every text that is drawn for one film of a batch is asked of all films of its group, and what is not said of a film
counts as false there. So everything that follows from a film's labels is said of it, often with a weight that hardly
ever draws it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from recipes.mini_films import Film
from recipes.mini_words import ABNORMAL, ABSENT, AGES, CLEAR, FINDINGS, NORMAL, OPACITY, OPAQUE, PLAIN, VIEWS

RAREST = 8.0  # largest weight of a rare finding
SUSPECTED = 0.5  # weight of a finding that the teacher alone has seen
# Weights of the films of a source. Children are many, and easy; adult films are what counts. Shenzhen's films are few.
SOURCE = {"nih": 1.0, "kermany": 0.3, "shenzhen": 2.0, "hannover": 1.0}
NEGATED = 0.12  # weight of one "no X"; there are thirteen or so to a film
HARDLY = 0.002  # weight of what is more false than true: said of the film, but left to others to bring up
DOUBTED = 0.05  # truth below which a statement is not listed: it counts as false
TEACHER = 0.5  # share of the teacher in a truth
LIKELY = 0.5  # of the teacher, from which a film without labels brings a finding up
KINDS = ("bacterial", "viral")  # of pneumonia
TUBERCULOSIS = ("tuberculosis", "pulmonary tuberculosis")
Statements = dict[str, tuple[float, float]]  # text → (weight, truth)
Probabilities = Mapping[str, float]  # label → how likely


def film_statements(
    film: Film, rarity: Mapping[str, float], taught: Probabilities | None = None, together: bool = True
) -> Statements:
    """Everything that is said of a film but views, ages and places.

    Args:
        rarity: label → weight of a finding that the film's labels name.
        taught: the teacher's opinion of the film; needed for a film without labels.
        together: whether films of other sources are asked the same. If not, a source's films are only told what its
            own labels say.
    """
    texts = certain(_OWN[film.source](film))
    if together or film.source == "nih":
        truth = adult_truth(film, taught)
        if film.source == "nih":
            said = {label: rarity[label] for label in FINDINGS if film.labels[label]}
        else:
            said = {label: SUSPECTED for label, value in truth.items() if value >= LIKELY}
        normal = float(film.normal)  # of films without labels (hannover) none: all have COVID-19
        and_also(texts, adult_statements(truth, said, normal))
        # What the other sources' own labels bring up.
        if together and film.source != "kermany":
            and_also(texts, kind_statements(truth))
        if together and film.source != "shenzhen":
            and_also(texts, no_tuberculosis())
    return {text: (weight * SOURCE[film.source], value) for text, (weight, value) in texts.items()}


def adult_truth(film: Film, taught: Probabilities | None) -> dict[str, float]:
    """Label of ChestX-ray14 → how likely the film has it, of those of which anything is known.

    A label counts as much as the teacher: software mined the labels from reports, and a tenth of them are wrong. A
    normal film of any source is labelled with none of the findings; of a sick one whose source has other labels the
    teacher alone speaks.
    """
    if film.source == "nih" or film.normal:
        labelled = {label: float(film.labels.get(label, False)) for label in FINDINGS}
        if taught is None:
            return labelled
        return {label: TEACHER * taught[label] + (1 - TEACHER) * value for label, value in labelled.items()}
    truth = {} if taught is None else {label: taught[label] for label in FINDINGS}
    return truth | ({"Pneumonia": 1.0} if film.source == "kermany" else {})


def adult_statements(truth: Probabilities, said: Mapping[str, float], normal: float) -> Statements:
    """What follows from labels of ChestX-ray14.

    Args:
        truth: label → how likely. Nothing is said of a label that is not there.
        said: label → weight, of the findings that the film brings up itself.
        normal: how likely the film has no finding.
    """
    texts: Statements = {}
    for label, value in truth.items():
        words, plain = FINDINGS[label], PLAIN.get(label, ())
        weight = said.get(label, HARDLY)
        say(texts, words, weight, value)
        say(texts, plain, 0.5 * weight, value)
        say(texts, [f"chest radiograph with {words[0]}", f"{words[0]} is present"], 0.25 * weight, value)
        weight = HARDLY if label in said else NEGATED
        say(texts, [f"no {words[0]}"], weight, 1 - value)
        say(texts, [f"no {word}" for word in (*words[1:], *plain)], 0.5 * weight, 1 - value)
        say(texts, ABSENT.get(label, ()), 0.5 * weight, 1 - value)
        say(texts, [f"there is no {words[0]}"], 0.25 * weight, 1 - value)
    if not OPAQUE.isdisjoint(truth):
        opaque = max(truth[label] for label in OPAQUE & truth.keys())
        seen = not OPAQUE.isdisjoint(said)
        say(texts, OPACITY, 0.2 if seen else HARDLY, opaque)
        say(texts, CLEAR, HARDLY if seen else NEGATED, 1 - opaque)
    say(texts, ABNORMAL, 0.1, 1 - normal)
    say(texts, NORMAL, 0.5, normal)
    for a, b in itertools.permutations(said, 2):
        say(texts, [f"{FINDINGS[a][0]} and {FINDINGS[b][0]}"], 0.3, min(truth[a], truth[b]))
    return texts


def child_statements(kind: str) -> dict[str, float]:
    """Kermany: normal (""), bacterial pneumonia or viral pneumonia."""
    if not kind:
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {
            "no pneumonia": 1.0,
            "there is no pneumonia": 0.4,
            "no bacterial pneumonia": 0.3,
            "no viral pneumonia": 0.3,
            "the lungs are clear. no pneumonia.": 0.3,
        }
    other = KINDS[1 - KINDS.index(kind)]
    texts = dict.fromkeys(ABNORMAL, 0.1)
    return texts | {
        "pneumonia": 1.0,
        "chest radiograph with pneumonia": 0.4,
        "pneumonia is present": 0.4,
        f"{kind} pneumonia": 1.2,
        f"chest radiograph with {kind} pneumonia": 0.3,
        f"no {other} pneumonia": 0.5,
    }


def kind_statements(truth: Probabilities) -> Statements:
    """What Kermany's films bring up, of a film whose pneumonia may be of either kind."""
    texts: Statements = {}
    if "Pneumonia" not in truth:
        return texts
    for kind in KINDS:
        value = truth["Pneumonia"] / 2
        say(texts, [f"{kind} pneumonia", f"chest radiograph with {kind} pneumonia"], HARDLY, value)
        say(texts, [f"no {kind} pneumonia"], HARDLY, 1 - value)
    opaque = max(truth[label] for label in OPAQUE & truth.keys())
    say(texts, ["the lungs are clear. no pneumonia."], HARDLY, 1 - opaque)
    return texts


def tuberculosis_statements(reading: str) -> dict[str, float]:
    """Shenzhen: normal (""), or the reader's own words, and the sides and zones that they name."""
    if not reading:
        texts = dict.fromkeys(NORMAL, 0.4)
        return texts | {"no tuberculosis": 1.0, "no pulmonary tuberculosis": 0.6, "there is no tuberculosis": 0.3}
    texts = dict.fromkeys(ABNORMAL, 0.1)
    if "tb" in reading:
        texts |= {
            "tuberculosis": 1.0,
            "pulmonary tuberculosis": 0.7,
            "chest radiograph with tuberculosis": 0.3,
            "tuberculosis is present": 0.3,
        }
        spelled = reading.replace("ptb", "pulmonary tuberculosis").replace("stb", "secondary tuberculosis")
        texts[spelled] = 0.5
        if "," not in reading and ";" not in reading and " with " not in reading:
            side = next((side for side in ("bilateral", "right", "left") if side in reading), None)
            zone = next((zone for zone in ("upper", "lower") if zone in reading), None)
            if side:
                texts[f"{side} tuberculosis"] = 0.4
            if side and zone and "middle" not in reading:
                texts[f"{side} {zone} tuberculosis"] = 0.4
    else:
        texts |= {reading: 1.0, "no tuberculosis": 0.5}
    return texts


def no_tuberculosis() -> Statements:
    """Of films of other places. The teachers have seen tuberculosis in Shenzhen alone, and say nothing of it elsewhere:
    their mean is 0.4 in ChestX-ray14."""
    texts: Statements = {}
    say(texts, [f"no {word}" for word in TUBERCULOSIS], NEGATED, 1.0)
    say(texts, ["there is no tuberculosis"], 0.25 * NEGATED, 1.0)
    return texts


def view_statements(film: Film) -> Statements:
    """How the film was taken, where that is known."""
    return certain(dict.fromkeys(VIEWS.get(film.view, ()), 0.1 * SOURCE[film.source]))


def age_statements(film: Film) -> Statements:
    """How old the patient is. An adult of unknown age may be of any of the adults' ages; Kermany's are children."""
    weight = 0.1 * SOURCE[film.source]
    if film.age is None and film.source != "kermany":
        return {text: (weight, 1 / (len(AGES) - 1)) for text in list(AGES.values())[1:]}
    age = film.age or 0
    return {next(text for below, text in AGES.items() if age < below): (weight, 1.0)}


def say(texts: Statements, words: Iterable[str], weight: float, truth: float) -> None:
    """Add texts of one weight and truth, unless they are as good as false."""
    if truth >= DOUBTED:
        texts |= dict.fromkeys(words, (weight, truth))


def and_also(texts: Statements, more: Statements) -> None:
    """Add what is not said yet."""
    for text, said in more.items():
        texts.setdefault(text, said)


def certain(weights: Mapping[str, float], factor: float = 1.0) -> Statements:
    """Statements that are plainly true, drawn `factor` times as often."""
    return {text: (weight * factor, 1.0) for text, weight in weights.items()}


def rarities(labels: Iterable[Mapping[str, bool]]) -> dict[str, float]:
    """Weight of each finding in films of these labels: the square root of how much rarer it is than the most common
    one, at most RAREST."""
    counts = Counter(label for each in labels for label in FINDINGS if each[label])
    most = max(counts.values(), default=1)
    return {label: min(RAREST, math.sqrt(most / max(1, counts[label]))) for label in FINDINGS}


def _child(film: Film) -> dict[str, float]:
    return child_statements("" if film.normal else KINDS[0] if film.labels["child bacterial"] else KINDS[1])


def _tuberculosis(film: Film) -> dict[str, float]:
    return tuberculosis_statements("" if film.normal else film.reading)


def _nothing(film: Film) -> dict[str, float]:
    return {}


# What a source's own labels say beside those of ChestX-ray14.
_OWN = {"nih": _nothing, "kermany": _child, "shenzhen": _tuberculosis, "hannover": _nothing}
