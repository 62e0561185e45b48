"""Sides and zones of real findings, from the boxes that radiologists drew on films of ChestX-ray14.

The labels have no sides. Some 300 films that may be trained on have boxes: their findings are said with the side and
the zone of the lung. A film that has a finding without a box has it somewhere: a statement is as true of it as it is of
the boxed films on average. A film has one box of a finding at most, even where the finding is on both sides, so a box
says where a finding is, not where it is not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.mini_films import Film, rows_of
from recipes.mini_statements import HARDLY, Probabilities, Statements, say
from recipes.mini_words import FINDINGS

ORIGINAL = 1024  # pixels of the films that the boxes were drawn on
# Where the lungs are, in fractions of the film's height. Of the boxes of effusions, pneumothoraces, infiltrations and
# atelectases one in twenty begins above TOP and one in four ends below BASE. The zones are its thirds.
TOP, BASE = 0.10, 0.76
ZONES = ("upper", "mid", "lower")
# A box is on the side where this part of its width is, or on no side: the spine is not always in the middle.
ONE_SIDED = 0.8
TALL = 2 / 3  # of the lungs; a taller box is in no zone
LABEL = {"Infiltrate": "Infiltration"}  # the boxes' word → the labels'
LABELS = ("Atelectasis", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
OTHER = {"left": "right", "right": "left"}
ELSEWHERE = 0.2  # how likely a finding is on the other side too
WEIGHT = 6.0  # of a statement with a side, relative to the finding's name: boxed films are few


@dataclass(frozen=True)
class Place:
    """Where a box is: the patient's side, "left" or "right", and a zone of the lung, or "" if it is in several."""

    side: str
    zone: str


Places = Mapping[str, Place]  # label → where it is, in one film


def places(data: Path, films: Iterable[Film]) -> dict[str, Places]:
    """Film name → label → place, for boxed films of part "train". A box across the middle is left out; so is the
    heart's, which has no side."""
    trained = {film.name for film in films if film.part == "train"}
    found: dict[str, dict[str, Place]] = defaultdict(dict)
    for row in rows_of(data / "nih_boxes.csv"):
        name, label = Path(row["image_index"]).stem, LABEL.get(row["finding"], row["finding"])
        place = place_of(*(float(row[key]) / ORIGINAL for key in ("x", "y", "width", "height")))
        if name in trained and label in LABELS and place is not None:
            found[name][label] = place
    return dict(found)


def place_of(x: float, y: float, width: float, height: float) -> Place | None:
    """Where a box is, in fractions of the film; None = across the middle. The film's right half is the left lung."""
    on_left = min(max((x + width - 0.5) / width, 0.0), 1.0)
    if 1 - ONE_SIDED < on_left < ONE_SIDED:
        return None
    third = int((y + height / 2 - TOP) / (BASE - TOP) * len(ZONES))
    zone = ZONES[min(max(third, 0), len(ZONES) - 1)]
    return Place("left" if on_left >= ONE_SIDED else "right", zone if height <= TALL * (BASE - TOP) else "")


def truths(label: str, place: Place) -> dict[str, float]:
    """How true every statement about the finding's sides is of it in this place; what is not there is false."""
    name, other = FINDINGS[label][0], OTHER[place.side]
    texts = dict.fromkeys(sided(name, place.side), 1.0) | dict.fromkeys(sided(name, other), ELSEWHERE)
    if place.zone:
        texts |= dict.fromkeys(zoned(name, place), 1.0)
    return texts | {f"no {other} {name}": 1 - ELSEWHERE}


def sided(name: str, side: str) -> tuple[str, ...]:
    return f"{side} {name}", f"{name} on the {side}"


def zoned(name: str, place: Place) -> tuple[str, ...]:
    return f"{name} in the {place.side} {place.zone} zone", f"{place.side} {place.zone} zone {name}"


def shares(boxed: Iterable[Places]) -> dict[str, dict[str, float]]:
    """Label → statement → how true it is of the boxed films that have the finding, on average."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: Counter[str] = Counter()
    for film in boxed:
        counts.update(film.keys())
        for label, place in film.items():
            for text, truth in truths(label, place).items():
                sums[label][text] += truth
    return {label: {text: total / counts[label] for text, total in texts.items()} for label, texts in sums.items()}


def place_statements(
    truth: Probabilities, where: Places, share: Mapping[str, Mapping[str, float]], rarity: Mapping[str, float]
) -> Statements:
    """What is said of the sides of a film's findings.

    Args:
        truth: label → how likely the film has it.
        where: of its boxes; empty for a film without.
        share: of `shares`.
        rarity: label → weight of the finding's name.
    """
    texts: Statements = {}
    for label, stated in share.items():
        if label in where:
            # The other side is brought up as often as the right one: that is what tells them apart.
            for text, value in truths(label, where[label]).items():
                say(texts, [text], WEIGHT * rarity[label], value)
        elif label in truth:
            value = truth[label]
            for text, part in stated.items():
                if not text.startswith("no "):
                    say(texts, [text], HARDLY, value * part)
            for side in OTHER:
                name = FINDINGS[label][0]
                say(texts, [f"no {side} {name}"], HARDLY, 1 - value * stated[f"{side} {name}"])
    return texts
